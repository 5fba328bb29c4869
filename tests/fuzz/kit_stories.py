"""Requests about workloads, virtual time, migrations and scenarios."""

import random
from abc import abstractmethod
from typing import Any, Final

from tests.fuzz.pen import Call, KnownVm, Pen

KINDS: Final[tuple[dict[str, Any], ...]] = (
    {"kind": "sequential"},
    {"kind": "uniform"},
    {"kind": "hot_set", "hot_fraction": 0.1, "hot_share": 0.9},
    {"kind": "zipf", "exponent": 1.1},
    {"kind": "moving", "set_pages": 8, "move_every_writes": 100},
)
_VM: Final = {
    "manual_dirty_log_protect2": 3,
    "memslots": [{"slot": 0, "guest_phys_addr": "0x40000000", "memory_size": "2MiB"}],
    "workloads": [{"slot": 0, "kind": "uniform", "writes_per_second": 1_000}],
}
_COMMANDS: Final = ("switch_over", "start_postcopy", "continue", "pause", "resume", "cancel")
_LINK_EVENTS: Final[tuple[dict[str, Any], ...]] = (
    {"type": "down", "at_ns": 10**6, "duration_ns": 10**7},
    {"type": "rate", "iteration": 1, "bytes_per_second": 10**7},
    {"type": "failure", "at_ns": 10**7, "duration_ns": 10**6},
    {"type": "destination_dies", "iteration": 1},
)
_POST_COPY: Final = {
    "postcopy": {"bandwidth_bytes_per_second": 1_000_000},
    "schedule": [{"at": {"ns": 0}, "set": {"command": "start_postcopy"}}],
    "pace": 0.5,
}
_PLANS: Final[tuple[tuple[dict[str, Any], tuple[str, ...]], ...]] = (
    ({"pause_before_switchover": True}, ("pre-switchover", "continue")),
    (_POST_COPY, ("postcopy-active", "pause", "postcopy-paused", "resume")),
    ({"postcopy": {}, "downtime_limit_ns": 0, "pace": 1}, ("active", "start_postcopy")),
    ({"downtime_limit_ns": 0, "pace": 1}, ("active", "update", "switch_over")),
)
"""Migrations, and the phases to wait for and commands to give in turn."""


class KitStories(Pen):
    """Writes of what a harness does beside the dirty log itself."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._migrations: list[str] = []
        self._plan: tuple[str, ...] = ()
        self._comparisons: list[str] = []

    @abstractmethod
    def _path(self) -> tuple[str, KnownVm]: ...

    @abstractmethod
    def _slot(self, vm: KnownVm) -> int: ...

    def _guest(self) -> Call:
        rng = self._rng
        path, vm = self._path()
        body: dict[str, Any] = {"duration_ns": rng.randint(1, 10**8)}
        if rng.random() < 0.3:
            slot = {"slot": self._slot(vm), "writes_per_second": rng.choice((1_000, 100_000))}
            body = {**slot, "writer": rng.choice(("guest", "host")), **rng.choice(KINDS)}
            return self._with("add_workload", "POST", f"{path}/workloads", body)
        workload = f"{path}/workloads/{rng.choice([*vm.workloads[-3:], 'w1'])}"
        versions = f"{path}/memslots/{self._slot(vm)}/page-versions"
        tracking = {"enabled": rng.random() < 0.7}
        return rng.choice(
            (
                self._with("track_versions", "POST", f"{path}/track-versions", tracking),
                self._plain("get_page_versions", "GET", versions, num_pages=rng.randint(1, 99)),
                self._plain("list_workloads", "GET", f"{path}/workloads"),
                self._plain("get_workload", "GET", workload),
                self._plain("delete_workload", "DELETE", workload),
                self._plain("delete_workloads", "DELETE", f"{path}/workloads"),
                self._plain("get_clock", "GET", f"{path}/clock"),
                self._with("advance_clock", "POST", f"{path}/clock/advance", body),
                self._with("run_guest", "POST", f"{path}/guest/run", body),
                self._with("calc_dirty_rate", "POST", f"{path}/dirty-rate", body),
                self._plain("query_dirty_rate", "GET", f"{path}/dirty-rate"),
            )
        )

    def _planned(self) -> Call:
        """Start a migration, whose plan is followed once its id is known."""
        fields, self._plan = self._rng.choice(_PLANS)
        body = {"vm_id": self._path()[0].rpartition("/")[2], **fields}
        return self._with("start_migration", "POST", "/v1/migrations", body)

    def _follow_plan(self, migration_id: str) -> list[Call]:
        made, plan, self._plan = f"/v1/migrations/{migration_id}", self._plan, ()
        return [self._step(made, each) for each in plan]

    def _step(self, made: str, step: str) -> Call:
        if step == "update":
            return self._with("update_migration", "PATCH", made, {"throttle_percent": 20})
        if step in _COMMANDS:
            return self._plain(f"{step}_migration", "POST", f"{made}/{step.replace('_', '-')}")
        return self._plain("get_migration", "GET", made, wait_for=step, wait_seconds=2)

    def _migration(self) -> Call:
        rng = self._rng
        if rng.random() < 0.2:
            return self._planned()
        if rng.random() < 0.4:
            return self._new_migration()
        made = f"/v1/migrations/{rng.choice([*self._migrations, 'default-m1'])}"
        command = rng.choice(_COMMANDS)
        change = {
            "downtime_limit_ns": rng.choice((0, 10**6, 10**9)),
            "throttle_percent": rng.choice((None, 0, 99)),
            "auto_converge": rng.choice((None, {}, {"initial": 60, "max": 50})),
        }
        return rng.choice(
            (
                self._plain("list_migrations", "GET", "/v1/migrations", session_id="-"),
                self._plain("get_migration", "GET", made),
                self._plain("query_migrate", "GET", f"{made}/query-migrate"),
                self._plain("get_iterations", "GET", f"{made}/iterations"),
                self._plain("report_migration", "GET", f"{made}/report.html"),
                self._plain("cancel_migration", "POST", f"{made}/cancel"),
                self._with("update_migration", "PATCH", made, change),
                self._plain(f"{command}_migration", "POST", f"{made}/{command.replace('_', '-')}"),
            )
        )

    def _new_migration(self) -> Call:
        rng = self._rng
        body = {
            "vm_id": self._path()[0].rpartition("/")[2],
            "bandwidth_bytes_per_second": 10 ** rng.randint(8, 11),
            "max_iterations": rng.randint(1, 5),
            "timeout_strategy": rng.choice(("cancel", "switch_over", "postcopy")),
            "postcopy": rng.choice((None, {}, {"after_iterations": 1})),
            "pause_before_switchover": rng.random() < 0.2,
            "destination": {} if rng.random() < 0.2 else None,
            "link": rng.choice((None, {"events": [rng.choice(_LINK_EVENTS)]})),
            "verify": rng.random() < 0.7,
            "clear_chunk_pages": rng.choice((64, 4_096)),
        }
        return self._with("start_migration", "POST", "/v1/migrations", body)

    def _copy(self) -> Call:
        rng = self._rng
        path, vm = self._path()
        if not vm.copies or rng.random() < 0.2:
            base = {"base": rng.choice((None, "source", *vm.copies))}
            return self._with("create_copy", "POST", f"{path}/copies", base)
        made = f"{path}/copies/{rng.choice(vm.copies)}"
        if rng.random() < 0.6:
            return self._transfer(made, vm)
        return rng.choice(
            (
                self._plain("list_copies", "GET", f"{path}/copies"),
                self._plain("get_copy", "GET", made),
                self._plain("delete_copy", "DELETE", made),
                self._with("start_copy", "POST", f"{made}/start", {"name": "restored"}),
            )
        )

    def _transfer(self, made: str, vm: KnownVm) -> Call:
        """Read pages into a copy, or compare it."""
        rng = self._rng
        slot = self._slot(vm)
        npages = vm.slots.get(slot, (0, 100))[1]
        first = rng.randrange(npages)
        ranges = [[first, rng.randint(1, npages - first)]]
        window: dict[str, Any] = {"slot": slot, "page_ranges": ranges}
        if rng.random() < 0.5:
            pending = [window] if rng.random() < 0.5 else []
            return self._with("verify_copy", "POST", f"{made}/verify", {"pending": pending})
        body = {**window, "duration_ns": rng.choice((0, 1_000_000))}
        return self._with("receive_copy", "POST", f"{made}/receive", body)

    def _comparison(self) -> Call:
        made = f"/v1/comparisons/{self._rng.choice([*self._comparisons, 'default-c1'])}"
        return self._rng.choice(
            (
                self._with("start_comparison", "POST", "/v1/comparisons", {"vm": _VM}),
                self._plain("get_comparison", "GET", made),
                self._plain("report_comparison", "GET", f"{made}/report.html"),
                self._plain("cancel_comparison", "POST", f"{made}/cancel"),
                self._plain("list_comparisons", "GET", "/v1/comparisons"),
                self._plain("list_migration_presets", "GET", "/v1/migration-presets"),
                self._plain("get_cost_model", "GET", "/v1/cost-model"),
            )
        )

    def _scenario(self) -> Call:
        rng = self._rng
        place = "/v1/sessions/default/scenario"
        match rng.randrange(7):
            case 0:
                return self._plain("get_scenario", "GET", place)
            case 4:
                return self._plain("report_scenario", "GET", f"{place}/report.html")
            case 1:
                return self._plain("delete_scenario", "DELETE", place)
            case 2:
                return self._plain("list_scenarios", "GET", "/v1/scenarios")
            case 3:
                return self._plain(
                    "get_builtin_scenario", "GET", "/v1/scenarios/vmm-write-not-logged"
                )
            case _:
                write = {"op": "guest_write", "gfn_ranges": [[0x40000, rng.randint(1, 300)]]}
                steps = [{"vm": "src", "action": write}]
                body: dict[str, Any] = {
                    "scenario": "fuzz",
                    "vms": [{"key": "src", **_VM}],
                    "steps": steps,
                }
                return self._with("put_scenario", "PUT", place, body)
