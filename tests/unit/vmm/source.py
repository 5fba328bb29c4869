"""Machines whose migration can be reckoned by hand: no cost but the link's, a microsecond a page."""

from typing import Any

import numpy as np

from hacdbs_sim.model import (
    KNOBS,
    AddSequential,
    CostModel,
    MemslotFlags,
    MigrationSpec,
    PageRanges,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.vmm import Precopy, Report
from tests.support.machine import Machine

FREE = CostModel(**{knob.name: 0 for knob in KNOBS})
PAGE_US = 4_096_000_000
"""Bytes a second of a link that takes a microsecond for a page of 4 KiB."""

US = 1_000
NPAGES = 4_096
LOGS = int(MemslotFlags.LOG_DIRTY_PAGES)


def source(
    *,
    npages: int = NPAGES,
    writes_per_second: int = 250_000,
    manual: int = 1,
    costs: CostModel = FREE,
    flags: int = 0,
    cpus: int = 2,
) -> Machine:
    """A machine with a slot that its guest goes through page by page, a write every 4 us."""
    machine = Machine(VmConfig(manual_dirty_log_protect2=manual, costs=costs, cpus=cpus))
    machine.perform(
        SetMemslot(slot=0, guest_phys_addr=0x4000_0000, memory_size=npages * 4096, flags=flags)
    )
    if writes_per_second:
        machine.perform(AddSequential(slot=0, writes_per_second=writes_per_second))
    return machine


def migrated(machine: Machine, **fields: Any) -> Report:
    """Migrate a machine over a link of a microsecond a page."""
    return Precopy(machine, spec(**fields)).run()


def spec(**fields: Any) -> MigrationSpec:
    """Return a spec for such a link, that switches over below 100 pages."""
    given = {"bandwidth_bytes_per_second": PAGE_US, "downtime_limit_ns": 100 * US, **fields}
    return MigrationSpec(**given)


def frames(first_gfn: int, count: int) -> PageRanges:
    """Return a range of guest frames."""
    return PageRanges(np.array([first_gfn], np.uint64), np.array([count], np.uint64))


def until(precopy: Precopy, status: str) -> None:
    """Take steps until a phase is reached."""
    while precopy.status.value != status:
        assert precopy.step(), f"ended before {status}"
