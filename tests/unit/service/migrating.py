"""VMs whose migration takes so long as its test needs, and what happens to it meanwhile."""

from typing import Any

from app.service.fleet import Fleet, Vm
from app.service.migrations import Migration
from hacdbs_sim.model import (
    KNOBS,
    AddSequential,
    AnyWorkload,
    CostModel,
    CreateVm,
    MigrationCommand,
    MigrationSpec,
    PostcopySpec,
    Scheduled,
    ScheduledChange,
    SchedulePoint,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.vmm import Report
from tests.support.wire import HANG_SECONDS

FREE = CostModel(**{knob.name: 0 for knob in KNOBS})
CONFIG = VmConfig(manual_dirty_log_protect2=1, costs=FREE, cpus=2)
SLOT = SetMemslot(slot=0, guest_phys_addr=0x4000_0000, memory_size=4096 * 4096)
RATE = 1_000
WRITES = AddSequential(slot=0, writes_per_second=RATE)
"""The first pass takes some 260 ms, in which the guest writes as many pages."""

ENDLESS: dict[str, Any] = {"downtime_limit_ns": 0, "max_iterations": 1_000}


IN_POSTCOPY: dict[str, Any] = {
    **ENDLESS,
    "postcopy": PostcopySpec(bandwidth_bytes_per_second=1_000_000),
    "schedule": (
        Scheduled(
            at=SchedulePoint(ns=0), set=ScheduledChange(command=MigrationCommand.START_POSTCOPY)
        ),
    ),
}
SLOWLY = 100.0
"""The pace at which the 16 s of such a post-copy take half an hour."""


def spec(**fields: Any) -> MigrationSpec:
    """Return a migration of 64 MB/s that switches over below some 15 pages."""
    given = {"bandwidth_bytes_per_second": 64_000_000, "downtime_limit_ns": 1_000_000, **fields}
    return MigrationSpec(**given)


def vm_spec(session_id: str = "default", *workloads: AnyWorkload, **fields: Any) -> CreateVm:
    """Return a VM with one slot."""
    given = {**vars(CONFIG), **fields}
    return CreateVm(session_id=session_id, memslots=(SLOT,), workloads=workloads, **given)


def machine() -> Machine:
    """Return the machine of such a VM, outside a service."""
    made = Machine(CONFIG)
    made.perform(SLOT)
    made.perform(WRITES)
    return made


async def make_vm(fleet: Fleet, session_id: str = "default", rate: int = RATE) -> Vm:
    """Create a VM whose guest writes."""
    writes = AddSequential(slot=0, writes_per_second=rate)
    return await fleet.create_vm(vm_spec(session_id, writes))


async def reached(migration: Migration, phase: str) -> Report:
    """Wait for a phase."""
    await migration.run.wait(lambda: migration.report().status.value == phase, HANG_SECONDS)
    report = migration.report()
    assert report.status.value == phase, (report.status, report.reason, report.refused)
    return report


async def ended(migration: Migration) -> Report:
    """Wait for the end."""
    await migration.run.wait(lambda: False, HANG_SECONDS)
    return migration.report()
