"""Actions as the API writes them, both ways, without the API's own code.

A VM is the body of POST /v1/vms; an action is one of the batch's.
"""

import base64
from dataclasses import fields
from typing import Any, Final

import numpy as np

from hacdbs_sim.model import (
    Action,
    AddFault,
    Bitmap,
    ClearDirtyLog,
    DeleteFault,
    DeleteMemslot,
    FaultType,
    Features,
    GetDirtyLog,
    Gfns,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    KernelProfile,
    LogOp,
    PageRanges,
    PageSet,
    SetCpu,
    SetMemslot,
    UpdateVm,
    VmConfig,
)
from tests.support.faults import fault

FLAGS: Final = {"LOG_DIRTY_PAGES": 1, "READONLY": 2}
PLACES: Final = ("op", "slot", "cpu", "batch", "index", "gfn")
SCHEDULE: Final = {"enabled": True, "probability": 1.0, "after": 0, "every": 1, "times": None}


def body_of(config: VmConfig) -> dict[str, Any]:
    """Write a configuration as the body that makes the VM; what is the default is left out."""
    body = _not_defaults(config, VmConfig())
    if "features" in body:
        body["features"] = _not_defaults(config.features, Features())
    return body


def _not_defaults(made: VmConfig | Features, default: VmConfig | Features) -> dict[str, Any]:
    values = {field.name: getattr(made, field.name) for field in fields(made)}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def config_of(body: dict[str, Any]) -> VmConfig:
    """Read the body that makes a VM."""
    given = dict(body)
    if "features" in given:
        given["features"] = Features(**given["features"])
    if "kernel" in given:
        given["kernel"] = KernelProfile(given["kernel"])
    return VmConfig(**given)


def op_of(action: Action[Any]) -> dict[str, Any]:  # noqa: C901, PLR0911 - one case an action
    """Write an action as JSON values."""
    match action:
        case DeleteMemslot():
            return {"op": "delete_memslot", "slot": action.slot}
        case SetMemslot():
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
        case UpdateVm():
            given = {name: getattr(action, name) for name in UpdateVm.one_of}
            return {"op": "update_vm", **{k: v for k, v in given.items() if v is not None}}
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
        case SetCpu():
            return {"op": "set_cpu", "cpu": action.cpu, "online": action.online}
        case AddFault():
            return {"op": "add_fault", **_fault_out(action)}
        case DeleteFault():
            return {"op": "delete_fault", "fault_id": action.fault_id}
        case _:
            raise ValueError(f"vectors have no {type(action).__name__}")


def action_of(op: dict[str, Any]) -> Action[Any]:  # noqa: C901, PLR0911, PLR0912 - a case an action
    """Read an action from JSON values."""
    match op:
        case {"op": "delete_memslot", "slot": slot}:
            return DeleteMemslot(slot=slot)
        case {"op": "set_memslot"}:
            return _region_in(op)
        case {"op": "update_vm", "manual_dirty_log_protect2": flags}:
            return UpdateVm(manual_dirty_log_protect2=flags)
        case {"op": "update_vm", "eager_split_chunk_size": size}:
            return UpdateVm(eager_split_chunk_size=size)
        case {"op": "guest_write"}:
            return GuestWrite(pages=_pages_in(op), vcpu=op.get("vcpu", 0))
        case {"op": "guest_read"}:
            return GuestRead(pages=_pages_in(op), vcpu=op.get("vcpu", 0))
        case {"op": "host_write"}:
            return HostWrite(pages=_pages_in(op))
        case {"op": "host_unmap"}:
            return HostUnmap(pages=_pages_in(op))
        case {"op": "get_dirty_log", "slot": slot}:
            return GetDirtyLog(slot=slot, cpu=op.get("cpu"), trace=op.get("trace", False))
        case {"op": "clear_dirty_log"}:
            return _clear_in(op)
        case {"op": "set_cpu", "cpu": cpu, "online": online}:
            return SetCpu(cpu=cpu, online=online)
        case {"op": "add_fault"}:
            return _fault_in(op)
        case {"op": "delete_fault", "fault_id": fault_id}:
            return DeleteFault(fault_id=fault_id)
        case _:
            raise AssertionError(op)


def _region_in(op: dict[str, Any]) -> SetMemslot:
    uaddr = op.get("userspace_addr")
    return SetMemslot(
        slot=op["slot"],
        guest_phys_addr=int(op["guest_phys_addr"], 16),
        memory_size=op["memory_size"],
        userspace_addr=None if uaddr is None else int(uaddr, 16),
        flags=sum(FLAGS[name] for name in op.get("flags", [])),
        backing=op.get("backing"),
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
        slot=op["slot"],
        pages=pages,
        first_page=op.get("first_page", 0),
        num_pages=op.get("num_pages"),
        cpu=op.get("cpu"),
        trace=op.get("trace", False),
    )


def _fault_out(spec: AddFault) -> dict[str, Any]:
    schedule = {name: getattr(spec, name) for name in SCHEDULE}
    given = {name: value for name, value in schedule.items() if value != SCHEDULE[name]}
    when = {name: value for name in PLACES if (value := getattr(spec.when, name, None)) is not None}
    if "op" in when:
        when["op"] = spec.when.op.value if spec.when.op else None
    return {"type": spec.type.value, **given, **({"when": when} if when else {})}


def _fault_in(op: dict[str, Any]) -> AddFault:
    when = dict(op.get("when", {}))
    if "op" in when:
        when["op"] = LogOp(when["op"])
    schedule = {name: op[name] for name in SCHEDULE if name in op}
    return fault(FaultType(op["type"]), when=when, **schedule)
