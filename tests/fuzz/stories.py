"""Requests that make sense, one after the other, over all operations; and the same, damaged.

The author keeps the state that the answers report: which VMs, slots, faults and sessions there
are. What it keeps is bounded by resets, so that the service does not grow.
"""

import json
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeAlias

from typing_extensions import override

from tests.fuzz.kit_stories import KitStories
from tests.fuzz.pen import JSON, Call, KnownVm
from tests.support.wire import Answer

Writer: TypeAlias = Callable[[], Call]

MAX_VMS: Final = 8
MAX_SESSIONS: Final = 4
RESET_EVERY: Final = 500
"""Requests; what grows with each of them (faults, kept answers) is forgotten then."""

PAGE_SIZES: Final = (4_096, 16_384, 65_536)
FAULT_TYPES: Final = ("structf", "ipaf", "ipahacf", "lost_interrupt", "split_enomem", "unit_busy")
_LOGS: Final = ("LOG_DIRTY_PAGES",)


class Author(KitStories):
    """Writes requests, by chance, and learns from the answers."""

    def __init__(self, seed: str) -> None:
        super().__init__(random.Random(seed))
        self._vms: dict[str, KnownVm] = {}
        self._sessions: list[str] = []
        self._written = 0
        self._pending: list[Call] = []
        self._is_resetting = False
        self._writers: tuple[tuple[Writer, int], ...] = (
            (self._create_vm, 3),
            (self._access, 12),
            (self._get_log, 8),
            (self._clear_log, 8),
            (self._set_memslot, 5),
            (self._batch, 4),
            (self._fault, 5),
            (self._change, 5),
            (self._query, 12),
            (self._session, 3),
            (self._service, 4),
            (self._guest, 8),
            (self._migration, 5),
            (self._copy, 5),
            (self._comparison, 3),
            (self._scenario, 3),
        )

    def next(self) -> Call:
        """Write a request."""
        self._written += 1
        if self._written % RESET_EVERY == 0:
            self._is_resetting = True
            return self._plain("list_sessions", "GET", "/v1/sessions", limit=1_000)
        if self._pending:
            return self._pending.pop(0)
        if len(self._vms) < MAX_VMS // 2 and self._rng.random() < 0.3:
            return self._create_vm()
        writers, weights = zip(*self._writers, strict=True)
        call: Call = self._rng.choices(writers, weights)[0]()
        return call

    def learn(self, call: Call, answer: Answer) -> None:
        """Keep the state that an answer reports."""
        if answer.status >= 300:
            return
        parts = call.request.path.split("/")
        match call.operation_id:
            case "create_session":
                self._sessions.append(json.loads(answer.content)["session_id"])
            case "list_sessions" if self._is_resetting:
                # Attacks may have made some whose answers were not read.
                self._is_resetting = False
                self._reset([each["session_id"] for each in json.loads(answer.content)["sessions"]])
            case "delete_session":
                self._sessions = [session for session in self._sessions if session != parts[3]]
                self._forget_vms(parts[3])
            case "reset_session":
                self._forget_vms(parts[3])
            case "start_migration":
                made = json.loads(answer.content)["migration_id"]
                self._migrations = [*self._migrations[-7:], made]
                self._pending += self._follow_plan(made)
            case "start_comparison":
                self._comparisons = [json.loads(answer.content)["comparison_id"]]
            case _:
                self._learn_of_vms(call.operation_id, parts, answer.content)

    def _learn_of_vms(self, operation_id: str, parts: list[str], body: bytes) -> None:
        match operation_id:
            case "create_vm" | "start_copy":
                made = json.loads(body)
                slots = {s["slot"]: (s["base_gfn"], s["npages"]) for s in made["memslots"]}
                self._vms[made["vm_id"]] = KnownVm(made["page_size"], slots)
            case "set_memslot" if (vm := self._vms.get(parts[3])) is not None:
                now = json.loads(body)
                vm.slots.pop(now["slot"], None)
                if now["change"] != "delete":
                    vm.slots[now["slot"]] = (now["base_gfn"], now["npages"])
            case "create_copy" if (vm := self._vms.get(parts[3])) is not None:
                vm.copies.append(json.loads(body)["copy_id"])
            case "delete_copy" if (vm := self._vms.get(parts[3])) is not None:
                vm.copies = [each for each in vm.copies if each != parts[5]]
            case "add_fault" if (vm := self._vms.get(parts[3])) is not None:
                vm.faults.append(json.loads(body)["fault_id"])
            case "add_workload" if (vm := self._vms.get(parts[3])) is not None:
                vm.workloads.append(json.loads(body)["workload_id"])
            case "delete_memslot" if (vm := self._vms.get(parts[3])) is not None:
                vm.slots.pop(int(parts[5]), None)
            case "delete_vm":
                self._vms.pop(parts[3], None)
            case _:
                pass

    def _reset(self, sessions: list[str]) -> None:
        self._pending = [
            *(
                self._plain("delete_session", "DELETE", f"/v1/sessions/{session}")
                for session in sessions
                if session != "default"
            ),
            self._plain("reset_session", "POST", "/v1/sessions/default/reset"),
        ]

    def _forget_vms(self, session_id: str) -> None:
        for vm_id in [vm_id for vm_id in self._vms if vm_id.rpartition("-")[0] == session_id]:
            del self._vms[vm_id]

    def damaged(self, call: Call) -> Call:
        """Damage a request so that it stays HTTP: its query, headers, names or body."""
        rng, request = self._rng, call.request
        match rng.randrange(6):
            case 0:
                odd = rng.choice(
                    ("x=1", "limit=0", "cpu=-1", "format=xml", "%ff=%00", "cpu=1&cpu=1")
                )
                joint = "&" if "?" in request.target else "?"
                request = replace(request, target=f"{request.target}{joint}{odd}")
            case 1:
                parts = request.target.split("/")
                parts[rng.randrange(len(parts))] = rng.choice(
                    ("", "-", "99999", "%00", "..", "x" * 99)
                )
                request = replace(request, target="/" + "/".join(parts).lstrip("/"))
            case 2:
                name = rng.choice(("Host", "Content-Type", "Accept", "If-Match", "Idempotency-Key"))
                value = rng.choice(
                    ("", "x", "*/*;q=x", "\xff", "a" * 2_000, "application/octet-stream")
                )
                request = replace(request, headers={**request.headers, name: value})
            case 3:
                request = replace(
                    request, method=rng.choice(("GET", "PUT", "PATCH", "DELETE", "HEAD"))
                )
            case _ if request.body:
                request = replace(request, body=self._damaged_body(request.body))
            case _:
                request = replace(request, body=b"{}", headers={**request.headers, **JSON})
        return Call(call.operation_id, request)

    def _damaged_body(self, body: bytes) -> bytes:
        rng = self._rng
        try:
            document = json.loads(body)
        except ValueError:
            return body[: rng.randrange(len(body) + 1)]
        if not isinstance(document, dict) or not document or rng.random() < 0.3:
            damaged = bytearray(body)
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            return bytes(damaged)
        odd: list[Any] = [None, -1, 1.5, "", "x", True, [], {}, 1 << 63, [[0, 0]], "0x" + "f" * 16]
        name = rng.choice((*document, "unknown"))
        return json.dumps({**document, name: rng.choice(odd)}).encode()

    def _vm(self) -> tuple[str, KnownVm]:
        if not self._vms:
            return "default-1", KnownVm(4_096)
        return self._rng.choice(list(self._vms.items()))

    @override
    def _slot(self, vm: KnownVm) -> int:
        return self._rng.choice([*vm.slots, *vm.slots, self._rng.randrange(4)])

    @override
    def _path(self) -> tuple[str, KnownVm]:
        vm_id, vm = self._vm()
        return f"/v1/vms/{vm_id}", vm

    def _region(self, slot: int, page_size: int) -> dict[str, Any]:
        rng = self._rng
        region = {
            "guest_phys_addr": hex((slot << 32) + (rng.randrange(4) << 28)),
            "memory_size": rng.choice(("2MiB", "4MiB", "64MiB", page_size * 100)),
            "flags": rng.choice(([*_LOGS], [*_LOGS], [*_LOGS], [], ["READONLY"])),
        }
        if rng.random() < 0.3:
            region["backing"] = rng.choice(("2MiB", "1GiB", page_size))
        return region

    def _create_vm(self) -> Call:
        rng = self._rng
        if len(self._vms) >= MAX_VMS:
            return self._plain("delete_vm", "DELETE", self._path()[0])
        page_size = rng.choice(PAGE_SIZES)
        body = {
            "name": rng.choice(("", "src", "\u00e4" * 10)),
            "session_id": rng.choice(["default", *self._sessions]),
            "page_size": page_size,
            "vcpus": rng.randint(1, 4),
            "cpus": rng.randint(1, 4),
            "features": {"dbm": rng.random() < 0.8, "hacdbs": rng.random() < 0.9},
            "manual_dirty_log_protect2": rng.choice((0, 1, 3)),
            "eager_split_chunk_size": rng.choice((0, page_size)),
            "kernel": rng.choice(("fixed", "v1")),
            "seed": rng.randrange(1 << 53),
            "memslots": [
                {"slot": slot, **self._region(slot, page_size)}
                for slot in range(rng.choice((0, 1, 2, 2, 3)))
            ],
        }
        return self._with("create_vm", "POST", "/v1/vms", body)

    def _gfn(self, vm: KnownVm) -> int:
        if not vm.slots or self._rng.random() < 0.02:
            return self._rng.randrange(1 << 24)
        base, npages = self._rng.choice(list(vm.slots.values()))
        return base + self._rng.randrange(npages)

    def _pages(self, vm: KnownVm) -> Any:
        rng = self._rng
        gfns = [self._gfn(vm) for _ in range(rng.choice((0, 1, 5, 200)))]
        match rng.randrange(3):
            case 0:
                return {"gfns": gfns}
            case 1:
                return {"gfn_ranges": [[gfn, rng.randint(1, 100)] for gfn in gfns[:20]]}
            case _:
                return struct.pack(f"<{len(gfns)}Q", *gfns)

    def _access(self) -> Call:
        path, vm = self._path()
        if self._rng.random() < 0.15:
            ranges = [
                [
                    hex(self._gfn(vm) * vm.page_size + self._rng.randrange(9)),
                    self._rng.randint(1, 99),
                ]
                for _ in range(self._rng.randint(1, 5))
            ]
            body = {"gpa_ranges": ranges}
            return self._with("guest_write_memory", "POST", f"{path}/guest/write-memory", body)
        kind = self._rng.choice(
            (
                *("guest/write", "guest/write", "guest/read", "guest/hint-free"),
                *("host/write", "host/unmap", "host/discard"),
            )
        )
        has_vcpu = kind in {"guest/write", "guest/read"} and self._rng.random() < 0.3
        query = {"vcpu": 0} if has_vcpu else {}
        operation_id = {"guest/hint-free": "hint_free"}.get(kind, kind.replace("/", "_"))
        return self._with(operation_id, "POST", f"{path}/{kind}", self._pages(vm), **query)

    def _get_log(self) -> Call:
        path, vm = self._path()
        log = f"{path}/memslots/{self._slot(vm)}/dirty-log"
        query: dict[str, Any] = {}
        if self._rng.random() < 0.6:
            query["format"] = self._rng.choice(("ranges", "base64", "words", "summary"))
        if self._rng.random() < 0.3:
            return self._plain("peek_dirty_log", "GET", log, **query)
        if self._rng.random() < 0.3:
            query["trace"] = "true"
        call = self._plain("get_dirty_log", "POST", f"{log}/get", **query)
        if self._rng.random() < 0.2:
            headers = {**call.request.headers, "Accept": "application/octet-stream"}
            return Call(call.operation_id, replace(call.request, headers=headers))
        return call

    def _clear_log(self) -> Call:
        rng = self._rng
        path, vm = self._path()
        slot = self._slot(vm)
        npages = vm.slots.get(slot, (0, 100))[1]
        query = {}
        if rng.random() < 0.4:
            query["first_page"] = first = 64 * rng.randrange(max(npages // 64, 1))
            query["num_pages"] = min(64 * rng.randint(1, 8), npages - first)
        firsts = [rng.randrange(npages) for _ in range(rng.randint(0, 20))]
        ranges = [[first, rng.randint(1, npages - first)] for first in firsts]
        body: Any = {"page_ranges": ranges}
        if rng.random() < 0.3:
            body = rng.randbytes(-(-query.get("num_pages", npages) // 64) * 8)
        return self._with(
            "clear_dirty_log", "POST", f"{path}/memslots/{slot}/dirty-log/clear", body, **query
        )

    def _set_memslot(self) -> Call:
        path, vm = self._path()
        slot = self._slot(vm)
        if self._rng.random() < 0.2:
            return self._plain("delete_memslot", "DELETE", f"{path}/memslots/{slot}")
        body = self._region(slot, vm.page_size)
        return self._with("set_memslot", "PUT", f"{path}/memslots/{slot}", body)

    def _batch(self) -> Call:
        path, vm = self._path()
        slot = self._slot(vm)
        actions: list[dict[str, Any]] = [
            {"op": "guest_write", "gfns": [self._gfn(vm) for _ in range(20)]},
            {"op": "host_write", "gfn_ranges": [[self._gfn(vm), 5]]},
            {"op": "get_dirty_log", "slot": slot, "format": "summary"},
            {"op": "clear_dirty_log", "slot": slot, "page_ranges": [[0, 10]]},
            {"op": "set_cpu", "cpu": 0, "online": True},
            {"op": "add_fault", "type": "ipaf", "times": 1},
        ]
        chosen = self._rng.choices(actions, k=self._rng.randint(0, 10))
        return self._with("run_batch", "POST", f"{path}/batch", {"actions": chosen})

    def _fault(self) -> Call:
        rng = self._rng
        path, vm = self._path()
        path = f"{path}/faults"
        fault = f"{path}/{rng.choice([*vm.faults[-3:], 'f1'])}"
        match rng.randrange(6):
            case 0:
                return self._plain("delete_faults", "DELETE", path)
            case 1:
                return self._plain("delete_fault", "DELETE", fault)
            case 2:
                return self._plain("get_fault", "GET", fault)
            case 3:
                return self._plain("list_faults", "GET", path)
            case _:
                body = {"type": rng.choice(FAULT_TYPES), "probability": 0.5, "times": 3}
                return self._with("add_fault", "POST", path, body)

    def _change(self) -> Call:
        rng = self._rng
        path, vm = self._path()
        if rng.random() < 0.5:
            body = {"online": rng.random() < 0.7}
            return self._with("set_cpu", "PATCH", f"{path}/cpus/{rng.randrange(4)}", body)
        given = {"manual_dirty_log_protect2": rng.choice((0, 1, 3))}
        split = {"eager_split_chunk_size": vm.page_size}
        return self._with("update_vm", "PATCH", path, rng.choice((given, given, split)))

    def _query(self) -> Call:
        path, vm = self._path()
        return self._rng.choice(
            (
                self._plain("get_vm", "GET", path),
                self._plain("get_memslot", "GET", f"{path}/memslots/{self._slot(vm)}"),
                self._plain("list_memslots", "GET", f"{path}/memslots", limit=2),
                self._plain("get_heat", "GET", f"{path}/memslots/{self._slot(vm)}/heat", bins=9),
                self._plain("get_stage2", "GET", f"{path}/stage2", gfn=self._gfn(vm), count=1000),
                self._plain("list_cpus", "GET", f"{path}/cpus"),
                self._plain("get_cpu", "GET", f"{path}/cpus/{self._rng.randrange(4)}"),
                self._plain("list_vms", "GET", "/v1/vms", session_id="-"),
            )
        )

    def _session(self) -> Call:
        rng = self._rng
        session = rng.choice(["default", *self._sessions])
        match rng.randrange(5):
            case 0 if len(self._sessions) < MAX_SESSIONS:
                body = {"session_id": f"f{rng.randrange(9)}"} if rng.random() < 0.5 else {}
                return self._with("create_session", "POST", "/v1/sessions", body)
            case 1:
                return self._plain("delete_session", "DELETE", f"/v1/sessions/{session}")
            case 2:
                return self._plain("list_sessions", "GET", "/v1/sessions")
            case 3 if rng.random() < 0.2:
                return self._plain("reset_session", "POST", f"/v1/sessions/{session}/reset")
            case _:
                return self._plain("get_session", "GET", f"/v1/sessions/{session}")

    def _service(self) -> Call:
        return self._rng.choice(
            (
                self._plain("get_index", "GET", "/"),
                self._plain("get_livez", "GET", "/livez"),
                self._plain("get_readyz", "GET", "/readyz"),
                self._plain("get_version", "GET", "/version"),
                self._plain("get_metrics", "GET", "/metrics"),
                self._plain("get_capabilities", "GET", "/v1/capabilities"),
                self._plain("list_fault_types", "GET", "/v1/fault-types"),
                self._plain("get_problem", "GET", "/problems/no_such_vm"),
                self._plain("list_events", "GET", "/v1/events", after=self._rng.randrange(9)),
            )
        )
