"""VMs made of what another one had: the source's hardware and memslots, without its log."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Final

import numpy as np

from hacdbs_sim import model
from hacdbs_sim.model import MemslotFlags
from hacdbs_sim.model.pages import PageRanges

from .vm_runtime import INLINE_WORK, VmRuntime

_CONFIG: Final = tuple(each.name for each in fields(model.VmConfig))


def destination_of(
    session_id: str, name: str, source: VmRuntime, request: model.StartMigration
) -> model.CreateVm:
    """Return the VM to create for a migration.

    Args:
        session_id: The source's session.
        name: The source's name.
        source: The source.
        request: The migration, which has a destination.
    """
    wanted = request.destination or model.Destination()
    views = source.query(model.ListMemslots())
    chosen = [view for view in views if request.slots is None or view.slot in request.slots]
    return vm_like(session_id, name, source, wanted, chosen)


def vm_like(
    session_id: str,
    name: str,
    source: VmRuntime,
    wanted: model.Destination,
    memslots: Iterable[model.MemslotInfo],
) -> model.CreateVm:
    """Return a VM to create with the source's hardware and some memslots, none of which logs."""
    config = source.query(model.GetConfig())
    regions = tuple(
        model.SetMemslot(
            slot=view.slot,
            guest_phys_addr=view.guest_phys_addr,
            memory_size=view.memory_size,
            userspace_addr=view.userspace_addr,
            flags=int(view.flags & ~MemslotFlags.LOG_DIRTY_PAGES),
            backing=view.backing,
        )
        for view in memslots
    )
    return model.CreateVm(
        session_id=wanted.session_id or session_id,
        name=name if wanted.name is None else wanted.name,
        memslots=regions,
        **{each: getattr(config, each) for each in _CONFIG},
    )


async def fill_memory(destination: VmRuntime) -> None:
    """Write the pages that arrived: none of them is known to be zero any more."""

    def fill() -> None:
        ranges = [(view.base_gfn, view.npages) for view in destination.query(model.ListMemslots())]
        if ranges:
            first, count = np.array(ranges, np.uint64).T.copy()
            destination.perform(model.HostWrite(pages=PageRanges(first, count)))

    await destination.run(fill, work=lambda: INLINE_WORK + 1)


async def move_guest(source: VmRuntime, destination: VmRuntime) -> None:
    """Let the guest run at the destination: its workloads go there, with their slots."""
    workloads = source.query(model.ListWorkloadSpecs())

    def add() -> None:
        slots = {view.slot for view in destination.query(model.ListMemslots())}
        for workload in workloads:
            if workload.slot in slots:
                destination.perform(workload)

    def remove() -> None:
        source.perform(model.DeleteWorkloads())

    await destination.run(add, work=lambda: sum(map(destination.work, workloads)))
    await source.run(remove, work=lambda: 0)
