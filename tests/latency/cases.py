"""Each operation of the document at its limits.

The sizes come from the document where it has them: bounds of parameters, the most elements of a list.
`VARIANTS` has the bodies that it cannot express; every other operation is called as the contract tests
call it, with each parameter at its bound, on a VM that is as wide as a VM can be.
"""

import base64
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import numpy as np

from hacdbs_sim.model.faults import FAULTS
from hacdbs_sim.model.kinds import MAX_SLOT
from hacdbs_sim.model.scenarios import MAX_SCENARIO_VMS, MAX_STEPS
from hacdbs_sim.model.stage2 import MAX_BINS
from hacdbs_sim.model.vms import MAX_FAULTS_PER_VM, MAX_WORKLOADS_PER_VM
from tests.contract.calls import NAMES, WORLD, Call, good
from tests.contract.documented import Contract, Operation
from tests.support.wire import OCTETS, Answer, Calls, port_of

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "openapi" / "openapi.json"

WIDE: Final = NAMES["vm_id"]
"""The VM with the most memslots, faults and workloads."""
DEEP: Final = "deep-1"
"""The VM with a memslot of so many pages:"""
DEEP_PAGES: Final = 1 << 27
FAR_GFN: Final = 1 << 20

MAX_BODY_BYTES: Final = 64 << 20
"""Bytes that the service takes, in a batch too."""
BODY_BYTES: Final = 56 << 20
"""Bytes of a body of pages."""
OTHER_BODY_BYTES: Final = 7 << 20
"""Bytes of what has 8 MiB as its bound."""
STREAM_READERS: Final = 64
MANY_VMS: Final = 100
CROWD: Final = 4_000
"""VMs of a session that is deleted or reset."""

DONE: Final = frozenset(range(200, 300))
REFUSED_FOR_SIZE: Final = frozenset({409, 413, 422})


@dataclass(frozen=True, slots=True)
class World:
    """A service with the VMs that the cases are about."""

    url: str
    calls: Calls
    contract: Contract

    def ask(self, method: str, path: str, body: object = None, **rest: Any) -> Answer:
        """Make a call that succeeds, or that a limit refuses."""
        answer = self.calls.call(method, path, body, **rest)
        assert answer.status in DONE | REFUSED_FOR_SIZE, (method, path, answer.content[:500])
        return answer

    def perform(
        self, call: Call, names: Mapping[str, str], query: Mapping[str, Any] | None = None
    ) -> Answer:
        """Make a call of the contract tests, on the VM that is named."""
        operation = next(
            each for each in self.contract.operations if each.operation_id == call.operation_id
        )
        path = call.but(names={**names, **call.names}).path(operation.path)
        asked = {**(query or {}), **call.request.get("params", {})}
        target = f"{path}?{urlencode(asked)}" if asked else path
        if (body := call.request.get("json")) is None:
            return self.ask(operation.method, target)
        text = json.dumps(body)
        if "vm_id" in names:
            text = text.replace(f'"{WIDE}"', f'"{names["vm_id"]}"')
        return self.ask(operation.method, target, text.encode())


Step = Callable[[World], object]


@dataclass(frozen=True, slots=True)
class Case:
    """A call at its limits, what comes before it and what after it."""

    operation_id: str
    variant: str
    run: Step
    prepare: Step | None = None
    tidy: Step | None = None
    repeats: bool = True

    @property
    def name(self) -> str:
        """The operation, and what is at its limit."""
        return f"{self.operation_id}{': ' if self.variant else ''}{self.variant}"


def _slots(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "slot": slot,
            "guest_phys_addr": (FAR_GFN + 2 * slot) << 12,
            "memory_size": 4096,
            "flags": ["LOG_DIRTY_PAGES"],
        }
        for slot in range(first, first + count)
    ]


def _faults(count: int) -> list[dict[str, Any]]:
    kinds = [kind.value for kind in FAULTS]
    return [{"type": kinds[number % len(kinds)], "probability": 0} for number in range(count)]


def _wide(**given: Any) -> dict[str, Any]:
    workload = WORLD["workloads"][0]
    return {
        **WORLD,
        "memslots": [*WORLD["memslots"], *_slots(MAX_SLOT, 1)],
        "faults": _faults(MAX_FAULTS_PER_VM - 1),
        "workloads": [workload] * (MAX_WORKLOADS_PER_VM - 1),
        **given,
    }


def _deep(**given: Any) -> dict[str, Any]:
    slot = {
        "slot": 0,
        "guest_phys_addr": 0,
        "memory_size": DEEP_PAGES << 12,
        "flags": ["LOG_DIRTY_PAGES"],
    }
    return {"ipa_bits": 44, "memslots": [slot], **given}


_SMALL_VM: Final = {"memslots": [{**_slots(1)[0], "memory_size": 1 << 22}]}
_PARTS: Final = ("fault_id", "workload_id", "copy_id", "migration_id")
_OWN: Final = {"vm_id": "own-1", "migration_id": "own-m1"}
_MIGRATED: Final = "migrated"


def make_world(url: str, calls: Calls) -> World:
    """Make the VMs."""
    world = World(url, calls, Contract(json.loads(DOCUMENT.read_text(encoding="utf-8"))))
    calls.made("POST", "/v1/vms", _wide())
    for session_id in ("other", "deep", "many", "crowd", "own", _MIGRATED):
        calls.made("POST", "/v1/sessions", {"session_id": session_id})
    calls.made("POST", "/v1/vms", _deep(session_id="deep"))
    _write_deep(world)
    for _ in range(MANY_VMS):
        faults = _faults(MAX_FAULTS_PER_VM)
        calls.made("POST", "/v1/vms", {**_SMALL_VM, "session_id": "many", "faults": faults})
    workload = {"slot": 0, "kind": "uniform", "writes_per_second": 10**6}
    calls.made("POST", "/v1/vms", {**_SMALL_VM, "session_id": _MIGRATED, "workloads": [workload]})
    _migrate(world)
    return world


def _migrate(world: World, **given: Any) -> str:
    """Run a migration of as many passes as one has; return its id."""
    endless = {"downtime_limit_ns": 0, "max_iterations": 1_000, "timeout_strategy": "switch_over"}
    spec = {"vm_id": f"{_MIGRATED}-1", **endless, **given}
    migration: str = world.calls.made("POST", "/v1/migrations", spec)["migration_id"]
    path = f"/v1/migrations/{migration}?wait_for=end&wait_seconds=60"
    while world.calls.made("GET", path)["status"] in ("setup", "active", "device"):
        pass
    return migration


# Bodies


def _gfns_text() -> bytes:
    """As many gfns as a body has room for."""
    count = BODY_BYTES // 8
    gfns = np.char.mod(b"%07d", np.arange(1_000_000, 1_000_000 + count))
    return b",".join(gfns.tolist())


def _pairs_text(bound: int = BODY_BYTES) -> bytes:
    count = bound // 12
    return b"".join([b"[%d,1]," % (10_000_000 + 2 * n) for n in range(count)])[:-1]


def _full_bitmap() -> bytes:
    return b"\xff" * (DEEP_PAGES // 8)


def _page_bodies(operation: Operation) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the bodies of an operation on pages, each as long as it gets."""
    if operation.operation_id == "clear_dirty_log":
        octets = _full_bitmap
        yield "bitmap", lambda: b'{"bitmap":"%s"}' % base64.b64encode(_full_bitmap())
        yield "page_ranges", lambda: b'{"page_ranges":[%s]}' % _pairs_text()
    else:
        octets = np.arange(1, BODY_BYTES // 8, dtype="<u8").tobytes
        yield "gfns", lambda: b'{"gfns":[%s]}' % _gfns_text()
        yield "gfn_ranges", lambda: b'{"gfn_ranges":[%s]}' % _pairs_text()
        yield "bad gfns", lambda: b'{"gfns":[%s,-1]}' % _gfns_text()
    if OCTETS in operation.described["requestBody"]["content"]:
        yield "octets", octets


def _of_pages(operation: Operation) -> Iterator[Case]:
    path = operation.path.format(vm_id=DEEP, slot=0)
    for name, make in _page_bodies(operation):
        yield _post(
            operation.operation_id,
            name,
            path,
            make,
            prepare=_write_deep,
            as_octets=name == "octets",
        )


def _post(
    operation_id: str,
    variant: str,
    path: str,
    make: Callable[[], object],
    *,
    method: str = "POST",
    prepare: Step | None = None,
    tidy: Step | None = None,
    as_octets: bool = False,
) -> Case:
    """Return a call with a body that is made before the clock runs, and freed after it."""
    made: list[bytes] = []

    def make_body(world: World) -> None:
        body = make()
        made[:] = [body if isinstance(body, bytes) else json.dumps(body).encode()]
        if prepare is not None:
            prepare(world)

    def run(world: World) -> None:
        world.ask(method, path, **{"octets" if as_octets else "body": made[0]})

    def free_body(world: World) -> None:
        made.clear()
        if tidy is not None:
            tidy(world)

    return Case(operation_id, variant, run, make_body, free_body, repeats=False)


def _ask(method: str, path: str, **rest: Any) -> Step:
    return lambda world: world.ask(method, path, **rest)


def _reset(session_id: str) -> Step:
    return lambda world: world.calls.made("POST", f"/v1/sessions/{session_id}/reset")


def _streams(world: World) -> list[socket.socket]:
    """Open as many streams of events as the service takes; nobody reads them but the kernel."""
    opened = []
    for _ in range(STREAM_READERS):
        stream = socket.create_connection(("127.0.0.1", port_of(world.url)))
        head = "GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
        stream.sendall(head.encode())
        stream.recv(1 << 16)
        opened.append(stream)
    return opened


def _under_streams(operation_id: str, path: str, make: Callable[[], object]) -> Case:
    streams: list[socket.socket] = []

    def run(world: World) -> None:
        world.ask("POST", path, make())
        give_up_at = time.monotonic() + 10
        quiet_since = time.monotonic()
        while time.monotonic() < give_up_at and time.monotonic() - quiet_since < 0.3:
            for stream in streams:
                stream.settimeout(0)
                try:
                    while stream.recv(1 << 20):
                        quiet_since = time.monotonic()
                except BlockingIOError:
                    pass
            time.sleep(0.005)

    def close(_: World) -> None:
        for stream in streams:
            stream.close()
        streams.clear()
        time.sleep(0.2)

    return Case(
        operation_id,
        f"under {STREAM_READERS} streams",
        run,
        lambda world: streams.extend(_streams(world)),
        close,
        repeats=False,
    )


def _toggles(count: int) -> dict[str, Any]:
    actions = [{"op": "set_cpu", "cpu": 0, "online": bool(n % 2)} for n in range(count)]
    return {"actions": actions}


def _big_action(text: bytes = b"") -> bytes:
    return b'{"actions":[{"op":"guest_write","gfns":[%s%s]}]}' % (_gfns_text(), text)


def _intervals(bound: int = OTHER_BODY_BYTES) -> dict[str, Any]:
    per_interval = bound // 5 // 65_536
    pages = [[(n + k) % 1024 for k in range(per_interval)] for n in range(65_536)]
    return {"kind": "intervals", "slot": 0, "interval_ns": 10**6, "pages": pages}


def _scenario() -> dict[str, Any]:
    """As many VMs, memslots and steps as fit."""
    vms = [
        {"key": f"vm{n}", "memslots": _slots(60_000 // MAX_SCENARIO_VMS)}
        for n in range(MAX_SCENARIO_VMS)
    ]
    step = {"vm": "vm0", "action": {"op": "get_dirty_log", "slot": 0}}
    return {"scenario": "large", "vms": vms, "steps": [step] * MAX_STEPS}


def _new_session(world: World) -> None:
    world.calls.made("POST", "/v1/sessions", {"session_id": "crowd"})


def _crowd(world: World) -> None:
    if world.calls.call("GET", "/v1/sessions/crowd").status == 404:
        _new_session(world)
    for _ in range(CROWD):
        world.calls.made("POST", "/v1/vms", {**_SMALL_VM, "session_id": "crowd"})


def _wide_in_crowd(world: World) -> None:
    world.calls.made("POST", "/v1/vms", _wide(session_id="crowd"))


def _without(path: str) -> Step:
    return lambda world: world.calls.made("DELETE", path)


_SLOT_0: Final = {name: value for name, value in WORLD["memslots"][0].items() if name != "slot"}
_IN_BATCH: Final = f"/v1/vms/{WIDE}/batch"


def variants() -> Iterator[Case]:
    """Yield the calls whose limits the document does not express."""
    crowd, deep = _reset("crowd"), f"/v1/vms/{DEEP}"
    yield _post(
        "create_vm", "all memslots", "/v1/vms", lambda: _wide(session_id="crowd"), tidy=crowd
    )
    yield _post("create_vm", "deep", "/v1/vms", lambda: _deep(session_id="crowd"), tidy=crowd)
    workloads = [_intervals(OTHER_BODY_BYTES // 8)] * 8
    small = {**_SMALL_VM, "session_id": "crowd"}
    yield _post(
        "create_vm", "intervals", "/v1/vms", lambda: {**small, "workloads": workloads}, tidy=crowd
    )
    bad = {**_slots(1)[0], "slot": -1}
    yield _post(
        "create_vm",
        "a bad memslot",
        "/v1/vms",
        lambda: _wide(session_id="crowd", memslots=[*_slots(MAX_SLOT), bad]),
    )
    yield Case(
        "list_vms",
        "100 with 1,000 faults",
        _ask("GET", "/v1/vms?session_id=many&limit=1000"),
    )
    yield Case(
        "list_vms",
        "all memslots",
        _ask("GET", "/v1/vms?session_id=default&limit=1000"),
    )
    yield Case(
        "delete_vm",
        "all memslots",
        _without("/v1/vms/crowd-1"),
        _wide_in_crowd,
        crowd,
        repeats=False,
    )
    yield Case(
        "delete_vm", "deep", _without("/v1/vms/crowd-1"), _deep_in_crowd, crowd, repeats=False
    )
    yield Case("reset_session", f"{CROWD} VMs", crowd, _crowd, repeats=False)
    yield Case("reset_session", "all memslots", crowd, _wide_in_crowd, repeats=False)
    yield Case(
        "delete_session",
        f"{CROWD} VMs",
        _without("/v1/sessions/crowd"),
        _crowd,
        _new_session,
        repeats=False,
    )
    yield _post(
        "put_scenario", "8 MiB", "/v1/sessions/crowd/scenario", _scenario, method="PUT", tidy=crowd
    )
    yield Case(
        "get_scenario",
        "8 MiB",
        _ask("GET", "/v1/sessions/crowd/scenario"),
        _play,
        crowd,
    )
    yield Case(
        "delete_scenario",
        "8 MiB",
        _without("/v1/sessions/crowd/scenario"),
        _play,
        crowd,
        repeats=False,
    )
    faults = f"/v1/vms/{WIDE}/faults"
    yield _post("add_workload", "intervals", f"/v1/vms/{WIDE}/workloads", _intervals)
    yield _post("run_batch", "7M gfns", f"{deep}/batch", _big_action)
    yield _post(
        "run_batch", "7M gfns, one of them bad", f"{deep}/batch", lambda: _big_action(b",-1")
    )
    yield _post("run_batch", "10,000 CPU changes", _IN_BATCH, lambda: _toggles(10_000))
    yield _post(
        "run_batch",
        "10,000 faults armed and disarmed",
        "/v1/vms/many-1/batch",
        lambda: {
            "actions": [{"op": "delete_faults"}, *[{"op": "add_fault", "type": "ipaf"}] * 999] * 10
        },
    )
    gets = [{"op": "get_dirty_log", "slot": 0}]
    yield _post(
        "run_batch",
        "10,000 gets under 1,000 faults",
        "/v1/vms/many-2/batch",
        lambda: {"actions": gets * 10_000},
    )
    yield _under_streams("run_batch", _IN_BATCH, lambda: _toggles(10_000))
    yield Case(
        "delete_faults",
        "",
        _without(faults),
        lambda world: world.ask(
            "POST", _IN_BATCH, {"actions": [{"op": "add_fault", **each} for each in _faults(1000)]}
        ),
    )
    for log_format in ("ranges", "base64", "words", "summary"):
        path = f"{deep}/memslots/0/dirty-log"
        yield Case(
            "peek_dirty_log",
            log_format,
            _ask("GET", f"{path}?format={log_format}"),
            _write_deep,
            repeats=False,
        )
        yield Case(
            "get_dirty_log",
            log_format,
            _ask("POST", f"{path}/get?format={log_format}&trace=true"),
            _write_deep,
            repeats=False,
        )
    yield Case(
        "get_dirty_log",
        "octets",
        _ask("POST", f"{deep}/memslots/0/dirty-log/get", accept=OCTETS),
        _write_deep,
        repeats=False,
    )
    yield Case("get_heat", "deep", _ask("GET", f"{deep}/memslots/0/heat?bins={MAX_BINS}"))
    yield Case("get_stage2", "wide", _ask("GET", f"/v1/vms/{WIDE}/stage2?limit=1000"))
    yield _post(
        "guest_write_memory",
        "65,536 ranges",
        f"{deep}/guest/write-memory",
        lambda: b'{"gpa_ranges":[%s]}' % _pairs_text(65_536 * 12),
    )
    slot = f"/v1/vms/{WIDE}/memslots/0"
    yield Case("delete_memslot", "", _without(slot), _restore, _restore, repeats=False)
    # Copies
    copy = f"/v1/vms/{DEEP}/copies"
    yield Case(
        "create_copy",
        "deep",
        lambda world: world.ask("POST", copy, {"base": "source"}),
        repeats=False,
    )
    yield Case(
        "create_copy",
        "all memslots",
        lambda world: world.ask("POST", f"/v1/vms/{WIDE}/copies", {"base": "source"}),
        repeats=False,
    )
    yield _post(
        "receive_copy",
        "bitmap",
        f"{copy}/c1/receive",
        lambda: b'{"slot":0,"bitmap":"%s"}' % base64.b64encode(_full_bitmap()),
        prepare=_copy_of_deep,
    )
    yield _post("verify_copy", "deep", f"{copy}/c1/verify", dict, prepare=_copy_of_deep)
    yield _post(
        "verify_copy",
        "32,767 windows",
        f"{copy}/c1/verify",
        lambda: {
            "pending": [{"slot": 0, "first_page": 64, "num_pages": 64, "page_ranges": [[64, 2]]}]
            * (MAX_SLOT + 1)
        },
        prepare=_copy_of_deep,
    )
    # Migrations
    yield Case(
        "start_migration",
        "wide",
        lambda world: _migrate(world, vm_id=WIDE, max_iterations=2),
        repeats=False,
    )
    yield Case("start_migration", "1,000 passes", _migrate, repeats=False)
    yield Case("list_events", "1,000", _ask("GET", "/v1/events?limit=1000"))


def _copy_of_deep(world: World) -> None:
    if not world.calls.made("GET", f"/v1/vms/{DEEP}/copies")["copies"]:
        world.calls.made("POST", f"/v1/vms/{DEEP}/copies", {"base": "source"})


def _deep_in_crowd(world: World) -> None:
    world.calls.made("POST", "/v1/vms", _deep(session_id="crowd"))
    world.calls.made("POST", "/v1/vms/crowd-1/guest/write", {"gfn_ranges": [[0, DEEP_PAGES]]})


def _restore(world: World) -> None:
    world.ask("PUT", f"/v1/vms/{WIDE}/memslots/0", _SLOT_0)


def _write_deep(world: World) -> None:
    world.calls.made("POST", f"/v1/vms/{DEEP}/guest/write", {"gfn_ranges": [[0, DEEP_PAGES]]})


def _play(world: World) -> None:
    world.ask("PUT", "/v1/sessions/crowd/scenario", _scenario())


_OF_PAGES: Final = frozenset(
    (
        "guest_write",
        "guest_read",
        "hint_free",
        "host_write",
        "host_unmap",
        "host_discard",
        "clear_dirty_log",
    )
)


def _bounds_of(operation: Operation) -> dict[str, Any]:
    """Return each parameter of the query that has a bound at that bound."""
    bounds: dict[str, Any] = {}
    for parameter in operation.described.get("parameters", ()):
        if parameter["in"] != "query" or parameter["name"] in ("wait_seconds", "gfn", "after"):
            continue
        if parameter["name"] == "limit":
            bounds["limit"] = 1_000
        elif "maximum" in parameter["schema"] and parameter["name"] in ("bins", "num_pages"):
            bounds[parameter["name"]] = parameter["schema"]["maximum"]
    return bounds


def _as_contract(operation: Operation) -> Case:
    """Return the call of the contract tests, with its parameters at their bounds.

    It is about the widest VM; what is about a part of a VM has one of its own, made anew.
    """
    call, before = good(operation.operation_id), good(operation.operation_id).before
    has_own = any("{" + name + "}" in operation.path for name in _PARTS)
    if has_own and operation.method == "GET" and "migration_id" in operation.path:
        has_own, before = False, ()
        call = call.but(names={"migration_id": f"{_MIGRATED}-m1"})
    # A scenario resets its session
    session = "own" if "scenario" in operation.path else "many"
    names = _OWN if has_own else {"session_id": session}

    def prepare(world: World) -> None:
        if has_own:
            world.calls.made("POST", "/v1/sessions/own/reset")
            world.calls.made("POST", "/v1/vms", {**WORLD, "session_id": "own"})
        for each in before:
            world.perform(each, names)

    return Case(
        operation.operation_id,
        "",
        lambda world: world.perform(call, names, _bounds_of(operation)),
        prepare,
        repeats=operation.method == "GET",
    )


def cases_of(document: Mapping[str, Any]) -> list[Case]:
    """Return at least one case for each operation of a document."""
    special: dict[str, list[Case]] = {}
    for case in variants():
        special.setdefault(case.operation_id, []).append(case)
    cases: list[Case] = []
    for operation in Contract(document).operations:
        if operation.operation_id in _OF_PAGES:
            cases += _of_pages(operation)
        elif (found := special.get(operation.operation_id)) is not None:
            cases += found
        else:
            cases.append(_as_contract(operation))
    return cases
