"""All actions and queries, by name: a test asks every backend for a handler of each."""

from typing import Any, Final

from hacdbs_sim.model import (
    accesses,
    cpus,
    dirty_log,
    faults,
    guest,
    memslots,
    stage2,
    vms,
    workloads,
)
from hacdbs_sim.model.base import Action, Query

ACTIONS: Final[tuple[type[Action[Any]], ...]] = (
    accesses.GuestWrite,
    accesses.GuestWriteMemory,
    accesses.GuestRead,
    accesses.HostWrite,
    accesses.HostUnmap,
    accesses.HostDiscard,
    accesses.HintFree,
    dirty_log.GetDirtyLog,
    dirty_log.ClearDirtyLog,
    memslots.SetMemslot,
    memslots.DeleteMemslot,
    cpus.SetCpu,
    *faults.FAULTS.values(),
    faults.DeleteFault,
    faults.DeleteFaults,
    *workloads.WORKLOADS,
    workloads.DeleteWorkload,
    workloads.DeleteWorkloads,
    guest.AdvanceClock,
    guest.RunGuest,
    guest.TrackVersions,
    vms.UpdateVm,
)

QUERIES: Final[tuple[type[Query[Any]], ...]] = (
    memslots.GetMemslot,
    memslots.ListMemslots,
    memslots.ListMemslotLives,
    dirty_log.PeekDirtyLog,
    cpus.GetCpu,
    cpus.ListCpus,
    faults.GetFault,
    faults.ListFaults,
    faults.CountFaultHits,
    workloads.GetWorkload,
    workloads.ListWorkloads,
    workloads.ListWorkloadSpecs,
    guest.GetClock,
    guest.CopyVersions,
    guest.GetPageVersions,
    guest.GetLastVersion,
    guest.HasFreePages,
    guest.GetFreePages,
    guest.GetWrittenPages,
    stage2.GetStage2,
    stage2.GetHeat,
    vms.GetConfig,
    vms.GetCounters,
    vms.GetFootprint,
    vms.GetGenerations,
)
