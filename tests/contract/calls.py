"""One successful request for each operation, and the changes that make it each refusal.

The world in which they are made: a VM `default-1` with a logging slot 0 of 1,024 pages at gfn
262144, two CPUs and an armed fault `f1` that never fires; and a session `other`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote

import numpy as np

BASE_GFN: Final = 262_144
WORLD: Final[Mapping[str, Any]] = {
    "cpus": 2,
    "memslots": [
        {
            "slot": 0,
            "guest_phys_addr": "0x40000000",
            "memory_size": "4MiB",
            "flags": ["LOG_DIRTY_PAGES"],
        }
    ],
    "faults": [{"type": "ipaf", "probability": 0}],
    "workloads": [{"slot": 0, "kind": "sequential", "writes_per_second": 1000}],
}
NAMES: Final[Mapping[str, str]] = {
    "vm_id": "default-1",
    "slot": "0",
    "cpu": "0",
    "fault_id": "f1",
    "workload_id": "w1",
    "copy_id": "c1",
    "migration_id": "default-m1",
    "comparison_id": "default-c1",
    "session_id": "other",
    "code": "no_such_vm",
    "name": "lost-interrupt",
}
OCTETS: Final = {"content-type": "application/octet-stream"}
JSON: Final = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request of an operation: the names in its path, and the rest as httpx takes it."""

    operation_id: str
    names: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    before: tuple["Call", ...] = ()
    """Calls that create the state for this one."""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def path(self, template: str) -> str:
        named = {**NAMES, **self.names}
        return template.format_map({name: quote(value, safe="") for name, value in named.items()})

    def but(self, *, names: Mapping[str, str] | None = None, **request: Any) -> "Call":
        """Return the call with other names, or another part of the request."""
        kept = {
            name: value
            for name, value in self.request.items()
            # A body replaces a body, of whichever kind.
            if not (name in {"json", "content"} and {"json", "content"} & request.keys())
        }
        return replace(self, names={**self.names, **(names or {})}, request={**kept, **request})


def _json(operation_id: str, body: Any, **rest: Any) -> Call:
    return Call(operation_id, request={"json": body, **rest})


_SLOT_1: Final = {"guest_phys_addr": "0x80000000", "memory_size": 4096}
_GFNS: Final = {"gfns": [BASE_GFN, BASE_GFN + 70]}


def _scenario(vm: Mapping[str, Any], **rest: Any) -> dict[str, Any]:
    return {"scenario": "one", "vms": [{"key": "src", **vm}], **rest}


_WRITING: Final = {"slot": 0, "kind": "uniform", "writes_per_second": 1000}

_SMALL: Final = {"slot": 0, "guest_phys_addr": 0, "memory_size": 4096}

_BODIES: Final[Mapping[str, Any]] = {
    "guest_write": _GFNS,
    "guest_write_memory": {"gpa_ranges": [["0x40000000", 8192]]},
    "guest_read": _GFNS,
    "host_write": _GFNS,
    "host_unmap": _GFNS,
    "host_discard": _GFNS,
    "hint_free": _GFNS,
    "track_versions": {"enabled": True},
    "clear_dirty_log": {"page_ranges": [[0, 128]]},
    "create_session": {"session_id": "made"},
    "create_vm": WORLD,
    "put_scenario": _scenario(WORLD),
    "update_vm": {"manual_dirty_log_protect2": 3},
    "set_memslot": {
        "guest_phys_addr": "0x40000000",
        "memory_size": "4MiB",
        "flags": [],
    },
    "set_cpu": {"online": False},
    "add_fault": {"type": "ipaf"},
    "add_workload": _WRITING,
    "advance_clock": {"duration_ns": 1_000_000},
    "run_guest": {"duration_ns": 1_000_000},
    "create_copy": {"base": "source"},
    "receive_copy": {"slot": 0, "page_ranges": [[0, 128]]},
    "verify_copy": {"pending": [{"slot": 0, "page_ranges": [[128, 2]]}]},
    "start_copy": {"name": "restored"},
    "calc_dirty_rate": {"duration_ns": 50_000_000},
    "start_migration": {"vm_id": "default-1", "max_iterations": 1},
    "update_migration": {"downtime_limit_ns": 1_000_000_000},
    "start_comparison": {"vm": {"memslots": [_SMALL]}, "variants": [{"name": "one"}]},
    "run_batch": {"actions": [{"op": "guest_write", **_GFNS}, {"op": "get_dirty_log", "slot": 0}]},
}


_ENDLESS: Final = {"vm_id": "default-1", "downtime_limit_ns": 0, "max_iterations": 1_000}
_RUNNING: Final = _json("start_migration", {**_ENDLESS, "pace_ms": 10_000})
"""A migration that continues until somebody ends it."""

_SLOW_POSTCOPY: Final = {
    "bandwidth_bytes_per_second": 1_000_000,
    "postcopy": {"bandwidth_bytes_per_second": 1_000_000},
    "pace": 100,
}


def _waited(phase: str) -> Call:
    """Wait until a migration has reached a phase."""
    return Call("get_migration", request={"params": {"wait_for": phase, "wait_seconds": 60}})


_IN_POSTCOPY: Final = (
    _json(
        "start_migration",
        {
            **_ENDLESS,
            **_SLOW_POSTCOPY,
            "schedule": [{"at": {"ns": 0}, "set": {"command": "start_postcopy"}}],
        },
    ),
    _waited("postcopy-active"),
)
_ENDED: Final = (_json("start_migration", _BODIES["start_migration"]), _waited("end"))


_BEFORE: Final[Mapping[str, tuple[Call, ...]]] = {
    **dict.fromkeys(
        ("get_scenario", "report_scenario", "delete_scenario"),
        (_json("put_scenario", _scenario(WORLD)),),
    ),
    **dict.fromkeys(
        ("get_copy", "delete_copy", "receive_copy", "verify_copy", "start_copy"),
        (_json("create_copy", _BODIES["create_copy"]),),
    ),
    **dict.fromkeys(
        (
            "get_migration",
            "cancel_migration",
            "query_migrate",
            "get_iterations",
            "report_migration",
        ),
        (_json("start_migration", _BODIES["start_migration"]),),
    ),
    **dict.fromkeys(("update_migration", "switch_over_migration"), (_RUNNING,)),
    "start_postcopy_migration": (_json("start_migration", {**_ENDLESS, **_SLOW_POSTCOPY}),),
    "continue_migration": (
        _json("start_migration", {"vm_id": "default-1", "pause_before_switchover": True}),
        _waited("pre-switchover"),
    ),
    "pause_migration": _IN_POSTCOPY,
    "resume_migration": (*_IN_POSTCOPY, Call("pause_migration"), _waited("postcopy-paused")),
    **dict.fromkeys(
        ("get_comparison", "cancel_comparison", "report_comparison"),
        (_json("start_comparison", _BODIES["start_comparison"]),),
    ),
}
"""Calls that create the state in which an operation succeeds."""


def good(operation_id: str) -> Call:
    """Return a call of an operation that gets its first documented success."""
    body = _BODIES.get(operation_id)
    call = Call(operation_id) if body is None else _json(operation_id, body)
    return replace(call, before=_BEFORE.get(operation_id, ()))


_SLOW: Final = _json(
    "start_migration", {"vm_id": "default-1", "max_iterations": 1, "pace_ms": 10_000}
)


OTHERWISE: Final = (
    Call("set_memslot", {"slot": "1"}, {"json": _SLOT_1}),
    good("put_scenario"),
    replace(good("calc_dirty_rate"), before=(_SLOW,)),
)
"""Calls that, after the successful call of the operation, get another success."""


def _vm_with(**fields: Any) -> Call:
    return _json("create_vm", {**WORLD, **fields})


def _region(slot: int, base: str, size: object) -> dict[str, Any]:
    return {"slot": slot, "guest_phys_addr": base, "memory_size": size}


def _slot(number: int, **fields: Any) -> Call:
    return Call("set_memslot", {"slot": str(number)}, {"json": {**_SLOT_1, **fields}})


def _query(operation_id: str, **query: Any) -> Call:
    return good(operation_id).but(params=query)


def _octets(operation_id: str, content: bytes) -> Call:
    return good(operation_id).but(content=content, headers=OCTETS)


_RAGGED: Final = np.arange(1 << 20, (1 << 20) + 2 * 65_537, 2, dtype="<u8").tobytes()
"""Every other page: one range more than a response carries."""

_RAGGED_LOG: Final = (
    _slot(2, guest_phys_addr="0x100000000", memory_size="1GiB", flags=["LOG_DIRTY_PAGES"]),
    _octets("guest_write", _RAGGED),
)


def _after(before: tuple[Call, ...], call: Call, **settings: Any) -> Call:
    return replace(call, before=before, settings=settings)


_ALL_FAULTS: Final = _json(
    "run_batch", {"actions": [{"op": "add_fault", "type": "ipaf", "probability": 0}] * 999}
)
_ALL_WORKLOADS: Final = _json("run_batch", {"actions": [{"op": "add_workload", **_WRITING}] * 63})
_REPLAY: Final = {
    "slot": 0,
    "kind": "replay",
    "trace": "xz",
    "interval_ns": 1_000_000,
    "scale": True,
}
_BEYOND: Final = {"gfns": [1 << 28]}
_NO_CPU: Final = {"type": "ipaf", "when": {"cpu": 9}}
_NO_GFN: Final = {"type": "ipaf", "when": {"gfn": 1 << 40}}
_SENSELESS: Final = {"type": "ipaf", "when": {"index": 512}}
_ODD: Final = b"1234567"
_NO_WINDOWS: Final[Mapping[str, Mapping[str, Any]]] = {
    "no_such_memslot": {"slot": 7, "page_ranges": [[0, 1]]},
    "window_outside_memslot": {"slot": 0, "page_ranges": [[0, 1]], "num_pages": 3},
    "invalid_argument": {"slot": 0, "page_ranges": [[1024, 1]]},
}
"""What is no window of the world's memslots, by the refusal."""

_SIXTEEN: Final = (
    _json("start_comparison", {"vm": {"memslots": [_SMALL]}, "pace_ms": 10_000}),
) * 16
_BY_RING: Final = {"duration_ns": 50_000_000, "mode": "dirty_ring"}
_BY_BITMAP: Final = {"duration_ns": 50_000_000, "mode": "dirty_bitmap"}
_NO_SLOT: Final = {"slots": [7]}
_IN_SLOT_1: Final = {"gfns": [1 << 19]}


def _compared(vm: Call) -> Call:
    """Return the comparison of a VM instead of its creation."""
    return replace(_json("start_comparison", {"vm": vm.request["json"]}), settings=vm.settings)


_ON_KVM: Final[Mapping[str, Any]] = {
    "backend": "host_kvm",
    "memslots": [
        {
            "slot": 0,
            "guest_phys_addr": "0x40000000",
            "memory_size": "4MiB",
            "flags": ["LOG_DIRTY_PAGES"],
        }
    ],
}
"""A VM of this machine's KVM: `default-2`, where a service may make it."""


def _on_kvm(call: Call, **request: Any) -> Call:
    there = call.but(names={**call.names, "vm_id": "default-2"}, **request)
    return _after((_json("create_vm", _ON_KVM),), there, host_kvm=True)


_PROGRAM_SLOT: Final = "32763"
"""KVM_USER_MEM_SLOTS - 1 on x86: the guest's own program is there."""

_ACCESSES: Final = ("guest_write", "guest_read", "host_write", "host_unmap")
_MANY_PAGES: Final = {"json": {"gfn_ranges": [[BASE_GFN, 1 << 20]] * 5}}
_REFUSED_ON_KVM: Final[tuple[tuple[str, Call, Mapping[str, Any]], ...]] = (
    ("update_vm", good("update_vm"), {"json": {"eager_split_chunk_size": "2MiB"}}),
    ("set_memslot", _slot(1, guest_phys_addr="0x1000000000"), {}),
    ("delete_memslot", Call("delete_memslot", {"slot": _PROGRAM_SLOT}), {}),
    ("get_dirty_log", _query("get_dirty_log", cpu=0), {}),
    ("clear_dirty_log", _query("clear_dirty_log", cpu=0), {}),
    *((access, good(access), _MANY_PAGES) for access in _ACCESSES),
    (
        "guest_write_memory",
        _json("guest_write_memory", {"gpa_ranges": [["0x40000000", "4GiB"]] * 5}),
        {},
    ),
    ("start_migration", _json("start_migration", {"vm_id": "default-2"}), {}),
    *(
        (operation_id, good(operation_id), {})
        for operation_id in (
            *("peek_dirty_log", "get_heat", "get_stage2"),
            *("list_cpus", "get_cpu", "set_cpu"),
            *("add_fault", "get_fault", "delete_fault", "delete_faults"),
            *("add_workload", "get_workload", "delete_workload", "delete_workloads"),
            *("advance_clock", "run_guest", "calc_dirty_rate"),
            *("host_discard", "hint_free", "track_versions", "get_page_versions"),
            "create_copy",
        )
    ),
)
_NOT_ON_KVM: Final = {
    ("create_vm", "backend_unavailable"): _json("create_vm", _ON_KVM),
    ("create_vm", "not_supported_by_backend"): _after(
        (), _json("create_vm", {**_ON_KVM, "faults": [{"type": "ipaf"}]}), host_kvm=True
    ),
    **{
        (operation_id, "not_supported_by_backend"): _on_kvm(call, **request)
        for operation_id, call, request in _REFUSED_ON_KVM
    },
}
"""What a VM of the host's KVM is refused with."""

REFUSED: Final[Mapping[tuple[str, str], Call]] = {
    **_NOT_ON_KVM,
    ("get_dirty_log", "no_dirty_log"): good("get_dirty_log").but(names={"slot": "7"}),
    ("get_dirty_log", "no_such_cpu"): _query("get_dirty_log", cpu=9),
    ("get_dirty_log", "copy_to_user_failed"): _after(
        (_json("add_fault", {"type": "copy_to_user"}),), good("get_dirty_log")
    ),
    ("get_dirty_log", "too_many_ranges"): _after(
        _RAGGED_LOG, good("get_dirty_log").but(names={"slot": "2"})
    ),
    ("peek_dirty_log", "no_dirty_log"): good("peek_dirty_log").but(names={"slot": "7"}),
    ("peek_dirty_log", "too_many_ranges"): _after(
        _RAGGED_LOG, good("peek_dirty_log").but(names={"slot": "2"})
    ),
    ("clear_dirty_log", "no_dirty_log"): good("clear_dirty_log").but(names={"slot": "7"}),
    ("clear_dirty_log", "no_such_cpu"): _query("clear_dirty_log", cpu=9),
    ("clear_dirty_log", "window_outside_memslot"): _query("clear_dirty_log", num_pages=3),
    ("clear_dirty_log", "invalid_argument"): _octets("clear_dirty_log", bytes(8)),
    ("guest_write", "no_such_vcpu"): _query("guest_write", vcpu=9),
    ("guest_write_memory", "no_such_vcpu"): _json(
        "guest_write_memory", {"gpa_ranges": [["0x40000000", 1]], "vcpu": 9}
    ),
    ("guest_write_memory", "gfn_beyond_ipa_space"): _json(
        "guest_write_memory", {"gpa_ranges": [["0xfffffffffffff", 1]]}
    ),
    ("guest_read", "no_such_vcpu"): _query("guest_read", vcpu=9),
    **{
        (access, code): call
        for access in (*_ACCESSES, "host_discard", "hint_free")
        for code, call in (
            ("gfn_beyond_ipa_space", _json(access, _BEYOND)),
            ("invalid_argument", _octets(access, _ODD)),
        )
    },
    ("create_session", "session_exists"): _json("create_session", {"session_id": "other"}),
    ("create_session", "session_limit"): good("create_session"),
    ("delete_session", "default_session"): Call("delete_session", {"session_id": "default"}),
    ("create_vm", "no_such_session"): _vm_with(session_id="none"),
    ("create_vm", "vm_limit"): _after((), good("create_vm"), max_vms=1),
    ("create_vm", "invalid_argument"): _vm_with(memslots=[_region(0, "0x1", 4096)]),
    ("create_vm", "memslot_changed"): _vm_with(
        memslots=[_region(0, "0x0", 4096), _region(0, "0x0", 8192)]
    ),
    ("create_vm", "memslot_overlap"): _vm_with(
        memslots=[_region(0, "0x0", 4096), _region(1, "0x0", 4096)]
    ),
    ("create_vm", "beyond_ipa_space"): _vm_with(memslots=[_region(0, "0x10000000000", 4096)]),
    ("create_vm", "no_such_memslot"): _vm_with(memslots=[_region(0, "0x0", 0)]),
    ("create_vm", "page_limit"): _after(
        (), _vm_with(memslots=[_region(0, "0x0", "8MiB")]), max_pages_per_vm=1024
    ),
    ("create_vm", "state_bytes_limit"): _after(
        (), _vm_with(memslots=[_region(0, "0x0", "1TiB")]), max_state_bytes=1 << 20
    ),
    ("create_vm", "senseless_fault"): _vm_with(faults=[_SENSELESS]),
    ("create_vm", "no_such_cpu"): _vm_with(faults=[_NO_CPU]),
    ("create_vm", "gfn_beyond_ipa_space"): _vm_with(faults=[_NO_GFN]),
    ("list_events", "event_reader_limit"): good("list_events").but(
        headers={"accept": "text/event-stream"}
    ),
    ("list_vms", "no_such_session"): _query("list_vms", session_id="none"),
    ("update_vm", "memslots_present"): _json("update_vm", {"eager_split_chunk_size": "2MiB"}),
    ("update_vm", "invalid_argument"): _after(
        (good("delete_memslot"),), _json("update_vm", {"eager_split_chunk_size": 3})
    ),
    ("set_memslot", "invalid_argument"): _slot(1, guest_phys_addr="0x1"),
    ("set_memslot", "memslot_changed"): _slot(0),
    ("set_memslot", "memslot_overlap"): _slot(1, guest_phys_addr="0x40001000"),
    ("set_memslot", "beyond_ipa_space"): _slot(1, guest_phys_addr="0x10000000000"),
    ("set_memslot", "no_such_memslot"): _slot(1, memory_size=0),
    ("set_memslot", "page_limit"): _after((), _slot(1), max_pages_per_vm=1024),
    ("set_memslot", "state_bytes_limit"): _after(
        (), _slot(1, memory_size="512GiB"), max_state_bytes=1 << 20
    ),
    ("get_memslot", "no_such_memslot"): Call("get_memslot", {"slot": "7"}),
    ("get_heat", "no_such_memslot"): Call("get_heat", {"slot": "7"}),
    ("delete_memslot", "no_such_memslot"): Call("delete_memslot", {"slot": "7"}),
    ("get_stage2", "gfn_beyond_ipa_space"): _query("get_stage2", gfn=1 << 28),
    ("get_cpu", "no_such_cpu"): Call("get_cpu", {"cpu": "9"}),
    ("set_cpu", "no_such_cpu"): good("set_cpu").but(names={"cpu": "9"}),
    ("set_cpu", "last_online_cpu"): _after(
        (good("set_cpu"),), good("set_cpu").but(names={"cpu": "1"})
    ),
    ("add_fault", "senseless_fault"): _json("add_fault", _SENSELESS),
    ("add_fault", "no_such_cpu"): _json("add_fault", _NO_CPU),
    ("add_fault", "gfn_beyond_ipa_space"): _json("add_fault", _NO_GFN),
    ("create_vm", "no_such_vcpu"): _vm_with(workloads=[{**_WRITING, "vcpu": 9}]),
    ("create_vm", "invalid_workload"): _vm_with(workloads=[{**_WRITING, "first_page": 9999}]),
    ("add_workload", "no_such_memslot"): _json("add_workload", {**_WRITING, "slot": 7}),
    ("add_workload", "no_such_vcpu"): _json("add_workload", {**_WRITING, "vcpu": 9}),
    ("add_workload", "invalid_workload"): _json("add_workload", {**_WRITING, "num_pages": 9999}),
    ("add_workload", "workload_limit"): _after((_ALL_WORKLOADS,), good("add_workload")),
    ("add_workload", "state_bytes_limit"): _after(
        (), _json("add_workload", _REPLAY), max_state_bytes=1 << 17
    ),
    ("get_workload", "no_such_workload"): Call("get_workload", {"workload_id": "w9"}),
    ("delete_workload", "no_such_workload"): Call("delete_workload", {"workload_id": "w9"}),
    ("advance_clock", "invalid_argument"): _after(
        (_json("run_batch", {"actions": [{"op": "advance_clock", "duration_ns": 10**15}] * 9}),),
        _json("advance_clock", {"duration_ns": 10**15}),
    ),
    ("run_guest", "invalid_argument"): _after(
        (_json("run_batch", {"actions": [{"op": "advance_clock", "duration_ns": 10**15}] * 9}),),
        _json("run_guest", {"duration_ns": 10**15}),
    ),
    ("run_guest", "too_many_writes"): _json("run_guest", {"duration_ns": 10**15}),
    ("calc_dirty_rate", "invalid_dirty_rate"): _json("calc_dirty_rate", _BY_RING),
    ("calc_dirty_rate", "dirty_rate_measuring"): _after(
        (_SLOW, good("calc_dirty_rate")), good("calc_dirty_rate")
    ),
    ("calc_dirty_rate", "state_bytes_limit"): _after(
        (_slot(1, memory_size="2GiB"),), good("calc_dirty_rate"), max_state_bytes=1 << 20
    ),
    ("calc_dirty_rate", "copy_to_user_failed"): _after(
        (_json("add_fault", {"type": "copy_to_user"}),), _json("calc_dirty_rate", _BY_BITMAP)
    ),
    ("add_fault", "fault_limit"): _after((_ALL_FAULTS,), good("add_fault")),
    ("add_fault", "state_bytes_limit"): _after(
        (_ALL_FAULTS,), good("add_fault"), max_state_bytes=1 << 17
    ),
    ("get_fault", "no_such_fault"): Call("get_fault", {"fault_id": "f9"}),
    ("delete_fault", "no_such_fault"): Call("delete_fault", {"fault_id": "f9"}),
    ("create_copy", "no_such_copy"): _json("create_copy", {"base": "c7"}),
    ("create_copy", "copy_limit"): _after((good("create_copy"),) * 100, good("create_copy")),
    ("create_copy", "state_bytes_limit"): _after(
        (_slot(1, memory_size="1GiB"),), good("create_copy"), max_state_bytes=1 << 20
    ),
    **{
        (operation_id, code): _after(good(operation_id).before, _json(operation_id, body))
        for code, window in _NO_WINDOWS.items()
        for operation_id, body in (
            ("receive_copy", window),
            ("verify_copy", {"pending": [window]}),
        )
    },
    ("receive_copy", "too_many_writes"): _after(
        good("receive_copy").before,
        _json("receive_copy", {"slot": 0, "page_ranges": [[0, 1]], "duration_ns": 10**15}),
    ),
    ("receive_copy", "state_bytes_limit"): _after(
        (good("create_copy"), _slot(1, memory_size="128MiB")),
        _json("receive_copy", {"slot": 1, "page_ranges": [[0, 1]]}),
        max_state_bytes=200_000,
    ),
    ("start_copy", "no_such_session"): _after(
        good("start_copy").before, _json("start_copy", {"session_id": "none"})
    ),
    ("start_copy", "vm_limit"): _after(good("start_copy").before, good("start_copy"), max_vms=1),
    ("start_copy", "state_bytes_limit"): _after(
        (_slot(1, memory_size="128MiB"), good("create_copy")),
        good("start_copy"),
        max_state_bytes=310_000,
    ),
    ("start_migration", "no_such_vm"): _json("start_migration", {"vm_id": "default-99"}),
    ("start_migration", "migration_running"): _after((_SLOW,), good("start_migration")),
    ("start_migration", "migration_limit"): _after(_SIXTEEN, good("start_migration")),
    ("start_migration", "invalid_migration"): _json(
        "start_migration", {"vm_id": "default-1", **_NO_SLOT}
    ),
    ("start_migration", "state_bytes_limit"): _after(
        (_slot(1, memory_size="2GiB"),), good("start_migration"), max_state_bytes=1 << 20
    ),
    ("start_migration", "no_such_session"): _json(
        "start_migration", {"vm_id": "default-1", "destination": {"session_id": "none"}}
    ),
    ("start_migration", "vm_limit"): _after(
        (), _json("start_migration", {"vm_id": "default-1", "destination": {}}), max_vms=1
    ),
    **{
        (operation_id, "invalid_migration_state"): _after(_ENDED, good(operation_id))
        for operation_id in (
            *("update_migration", "switch_over_migration", "start_postcopy_migration"),
            *("continue_migration", "pause_migration", "resume_migration"),
        )
    },
    ("update_migration", "invalid_migration"): _after(
        (_RUNNING,), _json("update_migration", {"auto_converge": {"initial": 60, "max": 50}})
    ),
    ("cancel_migration", "invalid_migration_state"): _after(_IN_POSTCOPY, good("cancel_migration")),
    **{
        (operation_id, "state_bytes_limit"): _after(
            (_slot(1, memory_size="1GiB"),), call, max_state_bytes=1 << 17
        )
        for operation_id, call in (
            ("host_discard", _json("host_discard", _IN_SLOT_1)),
            ("hint_free", _json("hint_free", _IN_SLOT_1)),
            ("track_versions", good("track_versions")),
        )
    },
    ("get_page_versions", "no_such_memslot"): Call("get_page_versions", {"slot": "7"}),
    ("get_heat", "window_outside_memslot"): _query("get_heat", first_page=1 << 20),
    ("get_page_versions", "window_outside_memslot"): _query("get_page_versions", first_page=1_024),
    ("list_migrations", "no_such_session"): _query("list_migrations", session_id="none"),
    ("start_comparison", "migration_limit"): _after(_SIXTEEN, good("start_comparison")),
    ("start_comparison", "invalid_migration"): _json(
        "start_comparison", {"vm": {"memslots": [_SMALL]}, "migration": _NO_SLOT}
    ),
    ("list_comparisons", "no_such_session"): _query("list_comparisons", session_id="none"),
    ("get_problem", "no_such_path"): Call("get_problem", {"code": "none"}),
    ("get_readyz", "not_ready"): good("get_readyz"),
}
"""Refused calls by operation and code, beside those of every operation."""

_OF_NEW_VMS: Final = {
    ("start_comparison", code): _compared(call)
    for (operation_id, code), call in REFUSED.items()
    if operation_id == "create_vm" and code != "vm_limit"
}
"""A comparison refuses the VMs that `create_vm` refuses."""

_STRAY: Final = {"vm": "dst", "action": {"op": "get_dirty_log", "slot": 0}}


def _of_scenario(create_vm: Call) -> Call:
    """Return the scenario of a VM that is refused."""
    vm = {name: value for name, value in create_vm.request["json"].items() if name != "session_id"}
    call = _json("put_scenario", _scenario(vm))
    return replace(call, before=create_vm.before, settings=create_vm.settings)


REFUSED_SCENARIOS: Final[Mapping[tuple[str, str], Call]] = {
    ("put_scenario", "senseless_scenario"): _json("put_scenario", _scenario(WORLD, steps=[_STRAY])),
    ("get_scenario", "no_such_scenario"): Call("get_scenario"),
    ("report_scenario", "no_such_scenario"): Call("report_scenario"),
    ("delete_scenario", "no_such_scenario"): Call("delete_scenario"),
    **{
        ("put_scenario", code): _of_scenario(call)
        for (operation_id, code), call in REFUSED.items()
        if operation_id == "create_vm" and code != "no_such_session"
    },
}
"""Refused calls of scenarios: a VM of a scenario is refused like a VM."""

KEY: Final = "a-key"
_KEYED: Final = {"idempotency-key": KEY}
_HUGE: Final = {**JSON, **_KEYED, "content-length": str(1 << 40)}

_LONG_ANSWERS: Final = frozenset({"get_dirty_log", "peek_dirty_log", "list_vms"})
WITHOUT_ROOM: Final = ("traffic_limit", "request_too_large")
"""The refusals where the bytes of requests in flight are used up, or one request may have none."""

_EVERYWHERE: Final[Mapping[str, Mapping[str, Any]]] = {
    "bad_request": {"headers": {"transfer-encoding": "gzip"}},
    "host_not_allowed": {"headers": {"host": "elsewhere.example"}},
    "origin_not_allowed": {"headers": {"origin": "http://elsewhere.example"}},
    "unauthorized": {},
    "invalid_request": {"params": {"no_such_parameter": 1}},
    "malformed_body": {"content": b"{", "headers": JSON},
    "body_too_large": {"content": b"{}", "headers": _HUGE},
    "unsupported_media_type": {"content": b"{}", "headers": {"content-type": "text/plain"}},
    "no_such_scenario": {"names": {"name": "none"}},
    "no_such_vm": {"names": {"vm_id": "default-99"}},
    "no_such_migration": {"names": {"migration_id": "default-m99"}},
    "no_such_comparison": {"names": {"comparison_id": "default-c99"}},
    "no_such_copy": {"names": {"copy_id": "c99"}},
    "no_such_session": {"names": {"session_id": "none"}},
    "session_reset": {},
    "precondition_failed": {"headers": {"if-match": '"none"'}},
    "idempotency_key_reused": {"headers": _KEYED, "params": {"another": 1}},
    "idempotency_key_in_flight": {"headers": _KEYED},
    "idempotency_key_limit": {"headers": _KEYED},
    "answer_not_kept": {"headers": _KEYED},
    **{code: {} for code in WITHOUT_ROOM},
}
"""The changes that make the successful call of any operation a refused one, by code."""

_SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "unauthorized": {"token": "secret"},
    "idempotency_key_limit": {"max_idempotency_bytes": 1 << 16},
}


def _that_takes_room(call: Call) -> Call:
    """Return a call that takes room: with a long answer, or with a body, which a key has read first."""
    if {"json", "content"} & call.request.keys() or call.operation_id in _LONG_ANSWERS:
        return call
    return call.but(content=b"{}", headers={**JSON, **_KEYED})


def refused(operation_id: str, code: str) -> Call:
    """Return a call that an operation refuses with a code."""
    for refusing in (REFUSED, REFUSED_SCENARIOS, _OF_NEW_VMS):
        if (found := refusing.get((operation_id, code))) is not None:
            return found
    call = good(operation_id)
    if code in WITHOUT_ROOM:
        call = _that_takes_room(call)
    keyed = (call.but(headers=_KEYED),) if code == "idempotency_key_reused" else ()
    bad = call.but(**_EVERYWHERE[code])
    return replace(bad, before=(*call.before, *keyed), settings=_SETTINGS.get(code, {}))
