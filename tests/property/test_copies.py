"""Copies against memory that is really there: each page a number, each write a new one.

A walk writes, gets, clears, sets and deletes memslots, makes copies and reads pages into them. A copy
is a dict of the numbers that it read. What a copy of the core says must follow from the dicts.
"""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from hacdbs_sim.model import (
    ClearDirtyLog,
    DeleteMemslot,
    GetDirtyLog,
    Gfns,
    GuestWrite,
    HostWrite,
    MemslotFlags,
    PageRanges,
    PageWindow,
    PeekDirtyLog,
    ReceivePages,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.model.pages import pages_of
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.vmm import Copy

SLOTS = 2
NPAGES = 150
LOGGING = int(MemslotFlags.LOG_DIRTY_PAGES)
BASES = (0x40000, 0x50000)
STEPS = 120


@dataclass
class Slot:
    """A memslot: the number that is in each page, and since when it logs.

    Attributes:
        born: When it was made.
        log_born: When its log began; None: it has none.
        is_fresh: Whether its memory cannot be that of another slot that was written.
    """

    born: int
    log_born: int | None
    is_fresh: bool
    memory: list[int] = field(default_factory=lambda: [0] * NPAGES)


@dataclass
class Kept:
    """A copy: of which slot it has what, None where it has nothing of a page.

    Attributes:
        of: By slot: when that was made, when its log began, and the pages.
    """

    core: Copy
    of: dict[int, tuple[int, int | None, list[int | None]]]


class Walk:
    def __init__(self, seed: int, manual: int) -> None:
        self.rng = random.Random(seed)
        self.machine = Machine(VmConfig(manual_dirty_log_protect2=manual))
        self.slots: dict[int, Slot] = {}
        self.copies: list[Kept] = []
        self.time = 0
        self.has_written = False
        self.has_left_memory = False
        for slot in range(SLOTS):
            self.set_memslot(slot, logs=True)
        # From here on all writes are counted: a copy of nothing has the pages that are still 0
        self.copy_of_nothing()

    def now(self) -> int:
        self.time += 1
        return self.time

    def region(self, slot: int, *, logs: bool) -> SetMemslot:
        return SetMemslot(
            slot=slot,
            guest_phys_addr=BASES[slot] * 4096,
            memory_size=NPAGES * 4096,
            flags=LOGGING * logs,
        )

    def set_memslot(self, slot: int, *, logs: bool) -> None:
        self.machine.perform(self.region(slot, logs=logs))
        now, found = self.now(), self.slots.get(slot)
        if found is None:
            self.slots[slot] = Slot(now, now if logs else None, not self.has_left_memory)
        elif not logs:
            found.log_born = None
        elif found.log_born is None:
            found.log_born = now

    def delete_memslot(self, slot: int) -> None:
        self.machine.perform(DeleteMemslot(slot=slot))
        del self.slots[slot]
        self.has_left_memory |= self.has_written

    def write(self, slot: int) -> None:
        pages = self.rng.sample(range(NPAGES), self.rng.randint(1, 20))
        gfns = Gfns(np.array([BASES[slot] + page for page in pages], np.uint64))
        kind = self.rng.choice((GuestWrite, HostWrite))
        self.machine.perform(kind(pages=gfns))
        number = self.now()
        self.has_written = True
        for page in pages:
            self.slots[slot].memory[page] = number

    def log(self, slot: int) -> set[int]:
        if self.slots[slot].log_born is None:
            return set()
        return set(pages_of(self.machine.query(PeekDirtyLog(slot=slot)).words).tolist())

    def collect(self, slot: int) -> None:
        """Take the log, and read all, some or none of its pages into a copy."""
        if self.slots[slot].log_born is None:
            return
        log = self.machine.perform(GetDirtyLog(slot=slot))
        if self.machine.config.protects_manually and log.bitmap is not None:
            self.machine.perform(ClearDirtyLog(slot=slot, pages=log.bitmap))
        pages = sorted(pages_of(log.words).tolist())
        share = self.rng.choice((0.0, 0.5, 1.0, 1.0))
        chosen = [page for page in pages if self.rng.random() < share]
        if chosen and self.copies:
            self.receive(self.rng.choice(self.copies), slot, chosen)

    def receive(self, kept: Kept, slot: int, pages: list[int]) -> None:
        kept.core.receive(ReceivePages(slot=slot, pages=ranges(pages)))
        found = self.slots[slot]
        born, log_born, has = kept.of.get(slot, (-1, None, []))
        if born != found.born:
            log_born, has = found.log_born, [None] * NPAGES
        kept.of[slot] = (found.born, found.log_born if log_born is None else log_born, has)
        for page in pages:
            has[page] = found.memory[page]

    def copy_of_nothing(self) -> None:
        of: dict[int, tuple[int, int | None, list[int | None]]] = {}
        for number, slot in self.slots.items():
            has: list[int | None] = [0 if slot.is_fresh else None] * NPAGES
            of[number] = (slot.born, slot.log_born, has)
        self.copies.append(Kept(Copy(self.machine), of))

    def copy_of_source(self) -> None:
        of: dict[int, tuple[int, int | None, list[int | None]]] = {}
        for number, slot in self.slots.items():
            log = self.log(number)
            has = [
                None if page in log or slot.log_born is None else slot.memory[page]
                for page in range(NPAGES)
            ]
            of[number] = (slot.born, slot.log_born, has)
        self.copies.append(Kept(Copy(self.machine, "source"), of))

    def copy_of_copy(self) -> None:
        base = self.rng.choice(self.copies)
        of: dict[int, tuple[int, int | None, list[int | None]]] = {}
        for number, slot in self.slots.items():
            born, log_born, has = base.of.get(number, (-1, None, []))
            is_whole = born == slot.born and None is not slot.log_born == log_born
            of[number] = (
                slot.born,
                slot.log_born,
                list(has) if is_whole else [None] * NPAGES,
            )
        self.copies.append(Kept(Copy(self.machine, base.core), of))

    def step(self) -> None:
        rng = self.rng
        slot = rng.randrange(SLOTS)
        if slot not in self.slots:
            self.set_memslot(slot, logs=rng.random() < 0.8)
            return
        match rng.randrange(20):
            case 0:
                self.delete_memslot(slot)
            case 1:
                self.set_memslot(slot, logs=rng.random() < 0.5)
            case 2:
                self.copy_of_nothing()
            case 3:
                self.copy_of_source()
            case 4 | 5:
                self.copy_of_copy()
            case 6 | 7:
                first = rng.randrange(NPAGES)
                count = rng.randint(1, NPAGES - first)
                self.receive(rng.choice(self.copies), slot, [*range(first, first + count)])
            case 8 | 9 | 10 | 11:
                self.collect(slot)
            case _:
                self.write(slot)
        if len(self.copies) > 6:
            self.copies.pop(rng.randrange(6)).core.close()

    def check(self, kept: Kept) -> tuple[int, int]:
        """Compare what a copy says with the dicts; return its pending and lost pages."""
        named = {
            slot: set(self.rng.sample(range(NPAGES), 10))
            for slot in self.slots
            if self.rng.random() < 0.3
        }
        found = kept.core.verify(
            [PageWindow(slot=slot, pages=ranges(sorted(pages))) for slot, pages in named.items()]
        )
        pending = lost = 0
        for number, slot in self.slots.items():
            born, _, has = kept.of.get(number, (-1, None, []))
            if born != slot.born:
                has = [None] * NPAGES
            stale = {page for page in range(NPAGES) if has[page] != slot.memory[page]}
            known = self.log(number) | named.get(number, set())
            (of_slot,) = (each for each in found.slots if each.slot == number)
            named_lost = {p for f, n in of_slot.lost_ranges for p in range(f, f + n)}
            assert named_lost == stale - known
            assert of_slot.pending_pages == len(stale & known)
            assert of_slot.current_pages == NPAGES - len(stale)
            pending, lost = pending + len(stale & known), lost + len(stale - known)
        assert (found.pending_pages, found.lost_pages) == (pending, lost)
        assert set(found.unproved_slots) == kept.of.keys() - self.slots.keys()
        assert found.verified == (not found.unproved_slots)
        return pending, lost


def ranges(pages: list[int]) -> PageRanges:
    first = np.array(pages, np.uint64)
    return PageRanges(first, np.ones(len(pages), np.uint64))


@pytest.mark.parametrize("manual", [0, 1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_a_copy_lacks_exactly_what_it_has_not_read_since_its_last_write(
    seed: int, manual: int
) -> None:
    walk = Walk(seed, manual)
    pending = lost = 0
    for _ in range(STEPS):
        walk.step()
        for kept in walk.copies:
            more = walk.check(kept)
            pending, lost = pending + more[0], lost + more[1]

    assert pending > 0
    assert lost > 0
