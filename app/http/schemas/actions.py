"""What a batch's actions are to the core."""

from hacdbs_sim.sim.actions import (
    Action,
    AddWorkload,
    AdvanceClock,
    ArmFault,
    ClearDirtyLog,
    DisarmFault,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    RemoveWorkload,
    RunGuest,
    SetCpuOnline,
    SetMemoryRegion,
)

from . import batch as b
from .workloads import WorkloadFields


def access_of(
    action: b.GuestAccess | b.HostAccess,
) -> GuestWrite | GuestRead | HostWrite | HostUnmap:
    """Give the core's action of a batch of accesses."""
    pages = action.to_domain()
    match action:
        case b.GuestAccess(op="guest_write"):
            return GuestWrite(pages, action.vcpu)
        case b.GuestAccess():
            return GuestRead(pages, action.vcpu)
        case b.HostAccess(op="host_write"):
            return HostWrite(pages)
        case _:
            return HostUnmap(pages)


def clear_of(action: b.ClearLog) -> ClearDirtyLog:
    """Give the core's action of a clear."""
    return ClearDirtyLog(
        slot=action.slot,
        pages=action.to_domain(),
        first_page=action.first_page,
        num_pages=action.num_pages,
        cpu=action.cpu,
        trace=action.trace,
    )


def action_of(action: b.BatchAction) -> Action:  # noqa: PLR0911 - one return an action
    """Give the core's action of any of a batch."""
    match action:
        case b.GuestAccess() | b.HostAccess():
            return access_of(action)
        case b.GetLog():
            return GetDirtyLog(action.slot, action.cpu, action.trace)
        case b.ClearLog():
            return clear_of(action)
        case b.SetMemslot():
            return action.to_domain(action.slot)
        case b.DeleteMemslot():
            return SetMemoryRegion(action.slot)
        case b.SetCpu():
            return SetCpuOnline(action.cpu, action.online)
        case b.DeleteFault():
            return DisarmFault(action.fault_id)
        case b.GuestRun() | b.ClockAdvance() | b.DeleteWorkload() | WorkloadFields():
            return _guest_side_of(action)
        case _:
            return ArmFault(action.to_domain())


def _guest_side_of(
    action: b.GuestRun | b.ClockAdvance | b.DeleteWorkload | b.AddWorkload,
) -> RunGuest | AdvanceClock | RemoveWorkload | AddWorkload:
    match action:
        case b.GuestRun():
            return RunGuest(action.duration_ns, action.throttle_percent)
        case b.ClockAdvance():
            return AdvanceClock(action.duration_ns)
        case b.DeleteWorkload():
            return RemoveWorkload(action.workload_id)
        case _:
            return AddWorkload(action.to_domain())
