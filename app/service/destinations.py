"""VMs made of what another one had: the source's hardware and memslots, without its log."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from hacdbs_sim import model
from hacdbs_sim.model import MemslotFlags, MigrationStatus, Reason
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.pages import PageRanges
from hacdbs_sim.vmm import Report, refused_of
from hacdbs_sim.vmm.errors import DestinationDiedError
from hacdbs_sim.wire.codec import range_table

from .copies import PAGES_PER_WORK
from .vm_runtime import INLINE_WORK, VmRuntime


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
    tracks = source.query(model.GetLastVersion()) is not None
    return vm_like(session_id, name, source, wanted, chosen, track_versions=tracks)


def vm_like(
    session_id: str,
    name: str,
    source: VmRuntime,
    wanted: model.Destination,
    memslots: Iterable[model.MemslotInfo],
    *,
    track_versions: bool = False,
) -> model.CreateVm:
    """Return a VM to create with the source's hardware and some memslots, none of which logs."""
    regions = tuple(
        view.with_flags(int(view.flags & ~MemslotFlags.LOG_DIRTY_PAGES)) for view in memslots
    )
    return model.CreateVm(
        session_id=wanted.session_id or session_id,
        name=name if wanted.name is None else wanted.name,
        track_versions=track_versions,
        memslots=regions,
        **source.query(model.GetConfig()).settings(),
    )


async def fill_memory(destination: VmRuntime) -> None:
    """Write the pages that arrived: none of them is known to be zero any more."""

    def fill() -> None:
        ranges = [(view.base_gfn, view.npages) for view in destination.query(model.ListMemslots())]
        if ranges:
            first, count = np.array(ranges, np.uint64).T.copy()
            destination.perform(model.HostWrite(pages=PageRanges(first, count)))

    await destination.run(fill, work=lambda: INLINE_WORK + 1)


async def move_guest(source: VmRuntime, destination: VmRuntime, report: Report) -> None:
    """Let the guest run at the destination: its memory is written there, and its workloads go there.

    Raises:
        DestinationDiedError: The destination was deleted meanwhile.
        KvmError: It has no room for the workloads; in either case they stay at the source.
    """
    there = {view.slot: view for view in destination.query(model.ListMemslots())}

    def read() -> list[model.Action[Any]]:
        content = [
            model.HostWrite(pages=pages)
            for slot in report.spec.slots or ()
            if slot in there and (pages := _content(source, slot, there[slot])) is not None
        ]
        workloads = [each for each in source.query(model.ListWorkloadSpecs()) if each.slot in there]
        return [*content, *workloads]

    moved = await source.run(read, work=lambda: source.work_of_all_memslots(PAGES_PER_WORK))

    def arrive() -> None:
        for action in moved:
            destination.perform(action)

    def leave() -> None:
        if destination.is_deleted:
            raise DestinationDiedError("the VM of the destination was deleted")
        source.perform(model.DeleteWorkloads())

    await destination.run(arrive, work=lambda: sum(map(destination.work, moved)))
    await source.run(leave, work=lambda: 0)


def _content(source: VmRuntime, slot: int, there: model.MemslotInfo) -> model.PageRanges | None:
    """Return the frames of a slot that are not known to be zero; None: there is none."""
    try:
        written = source.query(model.GetWrittenPages(slot=slot)).bitmap
    except KvmError:  # it is gone, and another one has come with it
        written = None
    if written is None:
        first, count = np.array([there.base_gfn], np.uint64), np.array([there.npages], np.uint64)
        return model.PageRanges(first, count)
    table = np.array(range_table(written.words), np.uint64).reshape(-1, 2)
    pages = model.PageRanges(table[:, 0] + np.uint64(there.base_gfn), table[:, 1].copy())
    return pages if len(pages) else None


def failed(report: Report, refused: KvmError) -> Report:
    """Return the report of a migration whose guest could not run at the destination."""
    died = isinstance(refused, DestinationDiedError)
    return replace(
        report,
        status=MigrationStatus.FAILED,
        reason=Reason.DESTINATION_DIED if died else Reason.REFUSED,
        refused=refused_of(refused),
    )
