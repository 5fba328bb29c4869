"""Machines whose migration can be reckoned by hand: no cost but the link's.

On the fast link a page takes a microsecond, and a write comes every four. A migration is over before
the first window of 100 ms, so nothing may remain at the switch-over and it goes on to an empty log.

On the slow link both are a thousand times slower. A flush of 32 pages takes 32 ms, a chunk ends after
64 pages, and a window after four flushes: a tenth of the bandwidth is 100 pages.
"""

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
from hacdbs_sim.vmm import LiveMigration, Report
from tests.support.machine import Machine

FREE = CostModel(**{knob.name: 0 for knob in KNOBS})
PAGE_BYTES = 4_104
"""A page and its header on the wire."""

FAST = PAGE_BYTES * 1_000_000
SLOW = PAGE_BYTES * 1_000
US = 1_000
MS = 1_000_000
S = 1_000_000_000
NPAGES = 4_096
FIRST_GFN = 0x4000_0000 // 4_096
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
    machine.perform(slot(0, npages, flags=flags))
    if writes_per_second:
        machine.perform(AddSequential(slot=0, writes_per_second=writes_per_second))
    return machine


def quiet(**fields: Any) -> Machine:
    """A machine whose guest does not write by itself."""
    return source(writes_per_second=0, **fields)


def slot(number: int, npages: int, *, flags: int = 0, moved_by: int = 0) -> SetMemslot:
    """Make or move a memslot; slot 0 is at the first frame, each following one 1 GiB further."""
    address = 0x4000_0000 + (number << 30)
    return SetMemslot(
        slot=number,
        guest_phys_addr=address + moved_by,
        userspace_addr=address,
        memory_size=npages * 4096,
        flags=flags,
    )


def spec(**fields: Any) -> MigrationSpec:
    """A migration over the fast link."""
    return MigrationSpec(**{"bandwidth_bytes_per_second": FAST, **fields})


def slow(**fields: Any) -> dict[str, Any]:
    """Fields of a migration over the slow link that may pause the guest for 100 pages."""
    return {"bandwidth_bytes_per_second": SLOW, "downtime_limit_ns": 100 * MS, **fields}


def migrated(machine: Machine, **fields: Any) -> Report:
    """Migrate a machine over the fast link."""
    return LiveMigration(machine, spec(**fields)).run()


def sent(report: Report) -> list[int]:
    """The pages of each pass."""
    return [each.sent_pages for each in report.iterations]


def frames(first_page: int, count: int = 1) -> PageRanges:
    """A range of pages of slot 0, as guest frames."""
    return PageRanges(np.array([FIRST_GFN + first_page], np.uint64), np.array([count], np.uint64))


def until(migration: LiveMigration, status: str) -> None:
    """Take steps until a phase is reached."""
    while migration.status.value != status:
        assert migration.step(), f"ended before {status}"
