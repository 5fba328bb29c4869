"""The VM that a migration arrives at: the source's hardware and memslots, without its log."""

from dataclasses import fields
from typing import Final

from hacdbs_sim import model
from hacdbs_sim.model import MemslotFlags

from .vm_runtime import VmRuntime

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
    config = source.query(model.GetConfig())
    chosen = request.slots
    memslots = tuple(
        model.SetMemslot(
            slot=view.slot,
            guest_phys_addr=view.guest_phys_addr,
            memory_size=view.memory_size,
            userspace_addr=view.userspace_addr,
            flags=int(view.flags & ~MemslotFlags.LOG_DIRTY_PAGES),
            backing=view.backing,
        )
        for view in source.query(model.ListMemslots())
        if chosen is None or view.slot in chosen
    )
    return model.CreateVm(
        session_id=wanted.session_id or session_id,
        name=name if wanted.name is None else wanted.name,
        memslots=memslots,
        **{each: getattr(config, each) for each in _CONFIG},
    )


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
