"""A valid example of each request, for the document."""

from collections.abc import Mapping
from typing import Any, Final

from hacdbs_sim.model.operations import ACTIONS

_MEMSLOT: Final = {
    "guest_phys_addr": "0x40000000",
    "memory_size": "2GiB",
    "flags": ["LOG_DIRTY_PAGES"],
}
_TIMED: Final = {"slot": 0, "writes_per_second": 100_000}
_TRACE: Final = {"slot": 0, "interval_ns": 1_000_000}
_PAGES: Final = {"gfn_ranges": [[262144, 512], [263000, 1]]}
_VM: Final = {
    "name": "src",
    "vcpus": 4,
    "manual_dirty_log_protect2": 3,
    "eager_split_chunk_size": "2MiB",
    "memslots": [{"slot": 0, **_MEMSLOT}],
    "faults": [{"type": "ipaf", "after": 1, "times": 1, "when": {"op": "clear", "batch": 2}}],
}

_EXAMPLES: Final[Mapping[str, dict[str, Any]]] = {
    "GuestWrite": _PAGES,
    "GuestWriteMemory": {"gpa_ranges": [["0x40000000", "2MiB"], ["0x40345678", 24]]},
    "GuestRead": _PAGES,
    "HostWrite": _PAGES,
    "HostUnmap": _PAGES,
    "HostDiscard": _PAGES,
    "HintFree": _PAGES,
    "GetDirtyLog": {"slot": 0},
    "ClearDirtyLog": {"slot": 0, "page_ranges": [[0, 512], [856, 1]]},
    "SetMemslot": {"slot": 0, **_MEMSLOT},
    "DeleteMemslot": {"slot": 0},
    "SetCpu": {"cpu": 1, "online": False},
    "AddStructf": {"type": "structf", "when": {"op": "clear", "gfn": 262144}},
    "AddIpaf": {"type": "ipaf", "after": 1, "times": 1, "when": {"op": "clear", "batch": 2}},
    "AddIpahacf": {"type": "ipahacf", "when": {"batch": 0, "index": 7}},
    "AddLostInterrupt": {"type": "lost_interrupt", "times": 1},
    "AddEntriesEnomem": {"type": "entries_enomem", "probability": 0.5},
    "AddUnitBusy": {"type": "unit_busy", "every": 2},
    "AddSplitEnomem": {"type": "split_enomem", "when": {"gfn": 262144}},
    "AddCopyToUser": {"type": "copy_to_user", "when": {"op": "get"}},
    "DeleteFault": {"fault_id": "f1"},
    "DeleteFaults": {},
    "AddSequential": {**_TIMED, "kind": "sequential"},
    "AddUniform": {**_TIMED, "kind": "uniform"},
    "AddHotSet": {**_TIMED, "kind": "hot_set", "hot_fraction": 0.05, "hot_share": 0.9},
    "AddZipf": {**_TIMED, "kind": "zipf", "exponent": 1.1},
    "AddMoving": {**_TIMED, "kind": "moving", "set_pages": 64, "move_every_writes": 1_000},
    "AddReplay": {**_TRACE, "kind": "replay", "trace": "xz", "copies": 2},
    "AddIntervals": {**_TRACE, "kind": "intervals", "pages": [[0, 1, 2], [], [1]]},
    "DeleteWorkload": {"workload_id": "w1"},
    "DeleteWorkloads": {},
    "AdvanceClock": {"duration_ns": 10_000_000},
    "RunGuest": {"duration_ns": 10_000_000, "throttle_percent": 20},
    "TrackVersions": {"enabled": True},
    "NeedVersions": {"needed": True},
    "UpdateVm": {"manual_dirty_log_protect2": 3},
    "CreateVm": _VM,
    "CreateSession": {"session_id": "nightly"},
    "CreateCopy": {"base": "source"},
    "ReceivePages": {"slot": 0, "page_ranges": [[0, 512], [856, 1]], "duration_ns": 1_000_000},
    "PageWindow": {"slot": 0, "page_ranges": [[856, 1]]},
    "VerifyCopy": {"pending": [{"slot": 0, "page_ranges": [[856, 1]]}]},
    "StartCopy": {"name": "restored"},
    "CalcDirtyRate": {"duration_ns": 1_000_000_000, "sample_pages_per_gib": 1_024},
    "StartMigration": {"vm_id": "default-1", "preset": "converges"},
    "UpdateMigration": {"downtime_limit_ns": 500_000_000, "throttle_percent": 60},
    "StartComparison": {
        "vm": {
            "manual_dirty_log_protect2": 3,
            "seed": 7,
            "memslots": [{"slot": 0, "guest_phys_addr": "0x40000000", "memory_size": "1GiB"}],
            "workloads": [{"slot": 0, "kind": "uniform", "writes_per_second": 50_000}],
        },
        "migration": {"preset": "converges"},
    },
    "Scenario": {
        "scenario": "one-write",
        "vms": [{"key": "src", "memslots": [{"slot": 0, **_MEMSLOT, "memory_size": "2MiB"}]}],
        "steps": [
            {
                "vm": "src",
                "action": {"op": "guest_write", "gfns": [262144]},
                "expect": {"status": 200, "body": {"newly_dirty": 1}},
            }
        ],
    },
    "Batch": {
        "actions": [
            {"op": "guest_write", "gfns": [262144, 262145]},
            {"op": "get_dirty_log", "slot": 0, "format": "summary"},
        ]
    },
}
_OPS: Final[Mapping[str, str]] = {cls.__name__: cls.op for cls in ACTIONS}


def example_of(name: str, without: frozenset[str] = frozenset()) -> dict[str, Any] | None:
    """Return an example of a form: of a class, its body (`...Body`), or an action (`...Action`)."""
    if name in _EXAMPLES:
        return dict(_EXAMPLES[name])
    for suffix in ("Body", "Action"):
        cls_name = name.removesuffix(suffix)
        if cls_name != name and cls_name in _EXAMPLES:
            example = {
                key: value for key, value in _EXAMPLES[cls_name].items() if key not in without
            }
            return {"op": _OPS[cls_name], **example} if suffix == "Action" else example
    return None
