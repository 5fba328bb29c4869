"""Actions as the API writes them, both ways, without the API's own code.

A VM is the body of POST /v1/vms; an action is one of the batch's, or {"op": "set_vm", ...} for the PATCH
of a capability, which no batch has.
"""

import base64
from dataclasses import fields
from typing import Any, Final

import numpy as np

from hacdbs_sim.sim.actions import (
    Action,
    ArmFault,
    Bitmap,
    ClearDirtyLog,
    DisarmFault,
    FaultSpec,
    FaultType,
    FaultWhen,
    GetDirtyLog,
    Gfns,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    KernelProfile,
    LogOp,
    MachineConfig,
    PageRanges,
    PageSet,
    SetCpuOnline,
    SetEagerSplitChunkSize,
    SetManualProtect,
    SetMemoryRegion,
)

FLAGS: Final = {"LOG_DIRTY_PAGES": 1, "READONLY": 2}
PLACES: Final = ("op", "slot", "cpu", "batch", "index", "gfn")
SCHEDULE: Final = {"enabled": True, "probability": 1.0, "after": 0, "every": 1, "times": None}


def body_of(config: MachineConfig) -> dict[str, Any]:
    """Write a configuration as the body that makes the VM; what is the default is left out."""
    body: dict[str, Any] = {}
    default = MachineConfig()
    for field in fields(config):
        value = getattr(config, field.name)
        if value == getattr(default, field.name):
            continue
        if field.name in {"dbm", "hacdbs"}:
            body.setdefault("features", {})[field.name] = value
        else:
            body[field.name] = value
    return body


def config_of(body: dict[str, Any]) -> MachineConfig:
    """Read the body that makes a VM."""
    given = {**body, **body.get("features", {})}
    given.pop("features", None)
    if "kernel" in given:
        given["kernel"] = KernelProfile(given["kernel"])
    return MachineConfig(**given)


def op_of(action: Action) -> dict[str, Any]:  # noqa: C901, PLR0911, PLR0912 - one case an action
    """Write an action as JSON values."""
    match action:
        case SetMemoryRegion(memory_size=0):
            return {"op": "delete_memslot", "slot": action.slot}
        case SetMemoryRegion():
            op = {
                "op": "set_memslot",
                "slot": action.slot,
                "guest_phys_addr": hex(action.guest_phys_addr),
                "memory_size": action.memory_size,
                "flags": [name for name, bit in FLAGS.items() if action.flags & bit],
            }
            if action.userspace_addr is not None:
                op["userspace_addr"] = hex(action.userspace_addr)
            return op if action.backing is None else {**op, "backing": action.backing}
        case SetManualProtect():
            return {"op": "set_vm", "manual_dirty_log_protect2": action.flags}
        case SetEagerSplitChunkSize():
            return {"op": "set_vm", "eager_split_chunk_size": action.chunk_size_bytes}
        case GuestWrite() | GuestRead():
            name = "guest_write" if isinstance(action, GuestWrite) else "guest_read"
            vcpu = {"vcpu": action.vcpu} if action.vcpu else {}
            return {"op": name, **_pages_out(action.pages), **vcpu}
        case HostWrite() | HostUnmap():
            name = "host_write" if isinstance(action, HostWrite) else "host_unmap"
            return {"op": name, **_pages_out(action.pages)}
        case GetDirtyLog():
            return {"op": "get_dirty_log", "slot": action.slot, **_call_out(action)}
        case ClearDirtyLog():
            return _clear_out(action)
        case SetCpuOnline():
            return {"op": "set_cpu", "cpu": action.cpu, "online": action.online}
        case ArmFault():
            return {"op": "add_fault", **_fault_out(action.spec)}
        case DisarmFault():
            return {"op": "delete_fault", "fault_id": action.fault_id}
        case _:
            raise ValueError(f"vectors have no {type(action).__name__}")


def action_of(op: dict[str, Any]) -> Action:  # noqa: C901, PLR0911, PLR0912 - a case an action
    """Read an action from JSON values."""
    match op:
        case {"op": "delete_memslot", "slot": slot}:
            return SetMemoryRegion(slot)
        case {"op": "set_memslot"}:
            return _region_in(op)
        case {"op": "set_vm", "manual_dirty_log_protect2": flags}:
            return SetManualProtect(flags)
        case {"op": "set_vm", "eager_split_chunk_size": size}:
            return SetEagerSplitChunkSize(size)
        case {"op": "guest_write"}:
            return GuestWrite(_pages_in(op), op.get("vcpu", 0))
        case {"op": "guest_read"}:
            return GuestRead(_pages_in(op), op.get("vcpu", 0))
        case {"op": "host_write"}:
            return HostWrite(_pages_in(op))
        case {"op": "host_unmap"}:
            return HostUnmap(_pages_in(op))
        case {"op": "get_dirty_log", "slot": slot}:
            return GetDirtyLog(slot, op.get("cpu"), op.get("trace", False))
        case {"op": "clear_dirty_log"}:
            return _clear_in(op)
        case {"op": "set_cpu", "cpu": cpu, "online": online}:
            return SetCpuOnline(cpu, online)
        case {"op": "add_fault"}:
            return ArmFault(_fault_in(op))
        case {"op": "delete_fault", "fault_id": fault_id}:
            return DisarmFault(fault_id)
        case _:
            raise AssertionError(op)


def _region_in(op: dict[str, Any]) -> SetMemoryRegion:
    uaddr = op.get("userspace_addr")
    return SetMemoryRegion(
        op["slot"],
        int(op["guest_phys_addr"], 16),
        op["memory_size"],
        None if uaddr is None else int(uaddr, 16),
        sum(FLAGS[name] for name in op.get("flags", [])),
        op.get("backing"),
    )


def _pages_out(pages: PageSet) -> dict[str, Any]:
    if isinstance(pages, Gfns):
        return {"gfns": pages.gfns.tolist()}
    return {"gfn_ranges": _pairs(pages)}


def _pages_in(op: dict[str, Any]) -> PageSet:
    if "gfns" in op:
        return Gfns(np.array(op["gfns"], np.uint64))
    return _ranges(op["gfn_ranges"])


def _pairs(pages: PageRanges) -> list[list[int]]:
    pairs: list[list[int]] = np.column_stack((pages.first, pages.count)).tolist()
    return pairs


def _ranges(pairs: list[list[int]]) -> PageRanges:
    table = np.array(pairs, np.uint64).reshape(-1, 2)
    return PageRanges(table[:, 0].copy(), table[:, 1].copy())


def _call_out(action: GetDirtyLog | ClearDirtyLog) -> dict[str, Any]:
    cpu = {} if action.cpu is None else {"cpu": action.cpu}
    return {**cpu, "trace": True} if action.trace else cpu


def _clear_out(action: ClearDirtyLog) -> dict[str, Any]:
    op: dict[str, Any] = {"op": "clear_dirty_log", "slot": action.slot}
    if isinstance(action.pages, Bitmap):
        octets = action.pages.words.astype("<u8").tobytes()
        op["bitmap"] = base64.b64encode(octets).decode()
    else:
        op["page_ranges"] = _pairs(action.pages)
    if action.first_page:
        op["first_page"] = action.first_page
    if action.num_pages is not None:
        op["num_pages"] = action.num_pages
    return {**op, **_call_out(action)}


def _clear_in(op: dict[str, Any]) -> ClearDirtyLog:
    pages: Bitmap | PageRanges
    if "bitmap" in op:
        octets = np.frombuffer(base64.b64decode(op["bitmap"]), "<u8")
        pages = Bitmap(octets.astype(np.uint64))
    else:
        pages = _ranges(op["page_ranges"])
    return ClearDirtyLog(
        op["slot"],
        pages,
        op.get("first_page", 0),
        op.get("num_pages"),
        op.get("cpu"),
        op.get("trace", False),
    )


def _fault_out(spec: FaultSpec) -> dict[str, Any]:
    schedule = {name: getattr(spec, name) for name in SCHEDULE}
    given = {name: value for name, value in schedule.items() if value != SCHEDULE[name]}
    when = {name: value for name in PLACES if (value := getattr(spec.when, name)) is not None}
    if "op" in when:
        when["op"] = spec.when.op.value if spec.when.op else None
    return {"type": spec.type.value, **given, **({"when": when} if when else {})}


def _fault_in(op: dict[str, Any]) -> FaultSpec:
    when = dict(op.get("when", {}))
    if "op" in when:
        when["op"] = LogOp(when["op"])
    schedule = {name: op[name] for name in SCHEDULE if name in op}
    return FaultSpec(FaultType(op["type"]), when=FaultWhen(**when), **schedule)
