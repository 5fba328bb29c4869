"""One body over every way in which a dirty log is cleaned.

Software, the HACDBS unit, the unit failing at each kind of entry and place, the unit absent: after
each round the pages reported are those written since the last one, by a Python set that knows
nothing of cleaners; and a page cleaned but still writable in stage 2 would be lost a round later.
"""

import random
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pytest

from hacdbs_sim.model import (
    AcceleratorOutcome,
    AddEntriesEnomem,
    AddFault,
    AddIpaf,
    AddLostInterrupt,
    AddUnitBusy,
    Bitmap,
    ClearDirtyLog,
    DirtyLog,
    EntryWhen,
    FaultType,
    Features,
    GetDirtyLog,
    Gfns,
    GuestWrite,
    HostUnmap,
    HostWrite,
    KernelProfile,
    LogOp,
    RunWhen,
    SetCpu,
    SetMemslot,
    VmConfig,
)
from tests.support.faults import fault
from tests.support.machine import Machine

PAGE_SIZE: Final = 4096
N: Final = PAGE_SIZE // 8
BASE_GFN: Final = 0x10025
NPAGES: Final = 1700
WRITTEN: Final = 3 * N + 64
"""Pages of the first round: three full arrays and one of 64 entries."""

ABSENT_CPU: Final = 1


@dataclass(frozen=True)
class Cleaner:
    """A way of cleaning, and how its hook must answer in the first round."""

    name: str
    outcome: AcceleratorOutcome
    errno: str | None = None
    error: tuple[str, int, int] | None = None
    dbm: bool = True
    hacdbs: bool = True
    kernel: KernelProfile = KernelProfile.FIXED
    faults: tuple[AddFault, ...] = field(default=())
    cpu: int | None = None


def declining(name: str, errno: str, **how: object) -> Cleaner:
    return Cleaner(name, AcceleratorOutcome.DECLINED, errno, **how)  # type: ignore[arg-type]  # fields by name


def failing(kind: FaultType, batch: int, index: int) -> Cleaner:
    stop = fault(kind, when={"batch": batch, "index": index})
    return Cleaner(
        f"{kind.value}-{batch}-{index}",
        AcceleratorOutcome.PARTIAL,
        "EAGAIN",
        (kind.value.upper(), batch, index),
        faults=(stop,),
    )


def losing_interrupt(batch: int, *also: AddFault, index: int) -> Cleaner:
    lost = AddLostInterrupt(when=RunWhen(batch=batch))
    return Cleaner(
        f"lost_interrupt-{batch}-{index}",
        AcceleratorOutcome.PARTIAL,
        "EAGAIN",
        ("LOST_INTERRUPT", batch, index),
        faults=(lost, *also),
    )


SOFTWARE: Final = declining("software", "ENXIO", hacdbs=False)

# The first and the last entry of an array, of the call, and entries in the middle of a word.
PLACES: Final = [(0, 0), (0, 511), (1, 5), (1, 256), (2, 300), (2, 511), (3, 0), (3, 31), (3, 63)]

CLEANERS: Final = [
    SOFTWARE,
    Cleaner("hacdbs", AcceleratorOutcome.CLEANED),
    Cleaner("hacdbs-v1", AcceleratorOutcome.CLEANED, kernel=KernelProfile.V1),
    declining("dbm-off", "EPERM", dbm=False),
    declining("unit-absent", "EPERM", cpu=ABSENT_CPU),
    declining("unit-busy", "EPERM", faults=(AddUnitBusy(),)),
    declining("entries-enomem", "ENOMEM", faults=(AddEntriesEnomem(),)),
    *(
        failing(kind, batch, index)
        for kind in (FaultType.STRUCTF, FaultType.IPAF, FaultType.IPAHACF)
        for batch, index in PLACES
    ),
    *(losing_interrupt(batch, index=N) for batch in (0, 1, 2)),
    losing_interrupt(3, index=64),
    losing_interrupt(1, AddIpaf(when=EntryWhen(batch=1, index=77)), index=77),
]


def rounds() -> list[tuple[set[int], set[int], set[int]]]:
    """Return (guest-written, host-written, unmapped before the collection) pages of each round."""
    chance = random.Random(8)
    pages = range(NPAGES)
    first = set(range(5, 1200)) | set(chance.sample(range(1200, NPAGES), WRITTEN - 1195))
    sparse = set(chance.sample(pages, 300))
    return [
        (first, set(), set()),
        (sparse, set(chance.sample(pages, 40)), set(chance.sample(pages, 25))),
        (set(), set(), set()),
        (set(pages), set(), set()),
        (set(chance.sample(pages, 900)), set(), set()),
        ({0, NPAGES - 1}, set(), set()),
    ]


def frames(pages: set[int]) -> Gfns:
    return Gfns(np.array([BASE_GFN + page for page in pages], np.uint64))


def pages_of(outcome: DirtyLog) -> set[int]:
    assert outcome.bitmap is not None
    words = [int(word) for word in outcome.bitmap.words]
    return {64 * k + bit for k, word in enumerate(words) for bit in range(64) if word >> bit & 1}


class Migration:
    """A machine whose log is collected round after round, by get alone or by get and clear."""

    def __init__(self, cleaner: Cleaner, op: LogOp) -> None:
        self.cleaner = cleaner
        self.op = op
        self.machine = Machine(
            VmConfig(
                cpus=2,
                features=Features(dbm=cleaner.dbm, hacdbs=cleaner.hacdbs),
                kernel=cleaner.kernel,
                manual_dirty_log_protect2=1 if op is LogOp.CLEAR else 0,
            )
        )
        self.machine.perform(SetCpu(cpu=ABSENT_CPU, online=False))
        self.machine.perform(
            SetMemslot(
                slot=0,
                guest_phys_addr=BASE_GFN * PAGE_SIZE,
                memory_size=NPAGES * PAGE_SIZE,
                flags=1,
            )
        )
        for each in cleaner.faults:
            self.machine.perform(each)

    def collect(self) -> tuple[set[int], DirtyLog]:
        """Return the pages reported, and the outcome of the call that cleaned them."""
        cpu = self.cleaner.cpu
        if self.op is LogOp.GET:
            outcome = self.machine.perform(GetDirtyLog(slot=0, cpu=cpu))
            return pages_of(outcome), outcome
        copy = self.machine.perform(GetDirtyLog(slot=0))
        assert copy.bitmap is not None
        outcome = self.machine.perform(ClearDirtyLog(slot=0, pages=copy.bitmap, cpu=cpu))
        return pages_of(copy), outcome


@pytest.mark.parametrize("op", list(LogOp))
@pytest.mark.parametrize("cleaner", CLEANERS, ids=lambda cleaner: cleaner.name)
def test_every_cleaner_reports_what_was_written_and_nothing_else(
    cleaner: Cleaner, op: LogOp
) -> None:
    migration, by_software = Migration(cleaner, op), Migration(SOFTWARE, op)

    for guest, host, unmapped in rounds():
        for side in (migration, by_software):
            side.machine.perform(GuestWrite(pages=frames(guest)))
            side.machine.perform(HostWrite(pages=frames(host)))
            side.machine.perform(HostUnmap(pages=frames(unmapped)))
        reported, outcome = migration.collect()

        assert reported == guest | host
        assert reported == by_software.collect()[0]
        assert outcome.dirty_count == len(reported)
        assert outcome.remaining_count == 0
        assert outcome.flush_tlb == bool(reported)
        for side in (migration, by_software):
            assert pages_of(side.machine.peek_dirty_log(0)) == set()


@pytest.mark.parametrize("op", list(LogOp))
@pytest.mark.parametrize("cleaner", CLEANERS, ids=lambda cleaner: cleaner.name)
def test_every_cleaner_answers_as_it_is_named(cleaner: Cleaner, op: LogOp) -> None:
    migration = Migration(cleaner, op)
    migration.machine.perform(GuestWrite(pages=frames(rounds()[0][0])))

    _reported, outcome = migration.collect()

    report = outcome.accelerator
    assert report is not None
    found = report.error and (report.error.reason.value, report.error.batch, report.error.index)
    assert (report.outcome, report.errno, found) == (cleaner.outcome, cleaner.errno, cleaner.error)
    assert report.cleaned + outcome.cleaned_by_software == WRITTEN
    if cleaner.error is None:
        cleaned = WRITTEN if cleaner.outcome is AcceleratorOutcome.CLEANED else 0
    else:
        _reason, batch, index = cleaner.error
        cleaned = N * batch + index
    assert report.cleaned == cleaned


@pytest.mark.parametrize("cleaner", CLEANERS, ids=lambda cleaner: cleaner.name)
def test_every_cleaner_of_a_part_leaves_the_other_pages_in_the_log(cleaner: Cleaner) -> None:
    migration = Migration(cleaner, LogOp.CLEAR)
    machine = migration.machine
    dirty = rounds()[0][0]
    machine.perform(GuestWrite(pages=frames(dirty)))
    part = {page for page in dirty if 128 <= page < 1600 and page % 3}
    words = [0] * 23
    for page in part:
        words[page // 64 - 2] |= 1 << page % 64

    mask = Bitmap(np.array(words, np.uint64))
    outcome = machine.perform(
        ClearDirtyLog(slot=0, pages=mask, first_page=128, num_pages=23 * 64, cpu=cleaner.cpu)
    )
    again = machine.perform(GuestWrite(pages=frames(part)))

    assert outcome.dirty_count == len(part)
    assert outcome.remaining_count == len(dirty - part)
    # Each page taken from the log faults at its next write and so comes back to it.
    assert again.newly_dirty == len(part)
    assert pages_of(machine.peek_dirty_log(0)) == dirty
