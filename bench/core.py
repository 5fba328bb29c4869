"""The core alone: slots of a machine, and the rows that clear them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bench.goals import Goal, at_least, at_most
from bench.kernel_loop import KernelLoop, LoopSlot
from bench.planes import ThreePasses
from bench.rounds import Effort, Side
from bench.rows import Figures, Row, compare
from hacdbs_sim.model import (
    AddIpaf,
    Bitmap,
    ClearDirtyLog,
    DeleteFault,
    EntryWhen,
    Gfns,
    GuestWrite,
    PageRanges,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.model.units import GIB, entries_per_array
from hacdbs_sim.sim.machine import Machine

PAGE_SIZE = 4096
SEED = 4

LOOP = "C loop, -O2"
WARMED = "logging, every page warmed"


def all_pages(npages: int) -> NDArray[np.uint64]:
    """Return the bitmap of a slot with every page dirty."""
    return np.full(npages // 64, np.uint64(0xFFFF_FFFF_FFFF_FFFF))


def random_pages(npages: int, count: int) -> NDArray[np.uint64]:
    """Return a bitmap with so many random pages, the same ones each time."""
    pages = np.random.default_rng(SEED).choice(npages, count, replace=False)
    bits = np.zeros(npages, np.uint8)
    bits[pages] = 1
    return np.packbits(bits, bitorder="little").view(np.uint64)


class CoreSlot:
    """A machine with one logging slot whose pages have all been written once.

    Args:
        size_bytes: Of the slot.
        dirty: uint64[k], the pages that `refill` makes dirty and `clear` clears; all if absent.
    """

    def __init__(self, size_bytes: int, dirty: NDArray[np.uint64] | None = None) -> None:
        npages = size_bytes // PAGE_SIZE
        every_page = PageRanges(np.array([0], np.uint64), np.array([npages], np.uint64))
        self.npages = npages
        self.machine = Machine(VmConfig(ipa_bits=44))
        self.machine.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=size_bytes, flags=1))
        self.machine.perform(GuestWrite(pages=every_page))
        self.machine.perform(ClearDirtyLog(slot=0, pages=Bitmap(all_pages(npages))))
        if dirty is None:
            self._user = Bitmap(all_pages(npages))
            self._write = GuestWrite(pages=every_page)
            self._dirty_count = npages
        else:
            self._user = Bitmap(dirty)
            bits = np.unpackbits(dirty.view(np.uint8), bitorder="little")
            gfns = np.flatnonzero(bits).astype(np.uint64)
            self._write = GuestWrite(pages=Gfns(gfns))
            self._dirty_count = len(gfns)

    def refill(self) -> None:
        """Have the guest write the pages again."""
        self.machine.perform(self._write)

    def clear(self) -> None:
        """KVM_CLEAR_DIRTY_LOG of the whole slot."""
        done = self.machine.perform(ClearDirtyLog(slot=0, pages=self._user))
        assert done.dirty_count == self._dirty_count, "every dirty page is cleared"

    def clear_side(self, repeats: int = 1) -> Side:
        """Return the clear as a side."""
        return Side(self.clear, self.refill, repeats)


def _against_loop(
    size_bytes: int, effort: Effort, goal: Goal, dirty: NDArray[np.uint64] | None = None
) -> Figures:
    slot = CoreSlot(size_bytes, dirty)
    loop = LoopSlot(KernelLoop(), all_pages(slot.npages) if dirty is None else dirty)
    return compare(goal, slot.clear_side(), Side(loop.clear, loop.refill), effort)


def _against_passes(size_bytes: int, effort: Effort, goal: Goal) -> Figures:
    slot = CoreSlot(size_bytes)
    return compare(goal, slot.clear_side(), Side(ThreePasses(slot.npages).sweep), effort)


class _FaultySlot(CoreSlot):
    """A slot each of whose clears meets a translation fault, at another rank each time."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self._dice = np.random.default_rng(SEED)
        self._armed: str | None = None

    def arm(self) -> None:
        """Make every page dirty, and have the unit stop at a random entry."""
        self.refill()
        if self._armed is not None:
            self.machine.perform(DeleteFault(fault_id=self._armed))
        batch, index = divmod(int(self._dice.integers(self.npages)), entries_per_array(PAGE_SIZE))
        spec = AddIpaf(when=EntryWhen(batch=batch, index=index))
        self._armed = self.machine.perform(spec).fault_id


def _with_fault(size_bytes: int, effort: Effort, goal: Goal) -> Figures:
    slot = _FaultySlot(size_bytes)
    without = CoreSlot(size_bytes)
    return compare(goal, Side(slot.clear, slot.arm), without.clear_side(), effort)


def rows(effort: Effort) -> Iterator[Row]:
    """Return the rows of the core that need nothing else."""
    large = 128 * GIB
    one_percent = large // PAGE_SIZE // 100
    yield Row(
        "clear-loop",
        "core clear, 128 GiB",
        f"{WARMED}, all dirty",
        LOOP,
        at_least(30),
        lambda goal: _against_loop(large, effort, goal),
    )
    yield Row(
        "clear-passes",
        "the same",
        f"{WARMED}, all dirty",
        "three numpy passes",
        at_most(3),
        lambda goal: _against_passes(large, effort, goal),
    )
    yield Row(
        "clear-sparse",
        "core clear, 128 GiB",
        f"{WARMED}, 1 % random pages dirty",
        LOOP,
        at_least(1),
        lambda goal: _against_loop(
            large, effort, goal, random_pages(large // PAGE_SIZE, one_percent)
        ),
    )
    yield Row(
        "clear-1gib",
        "core clear, 1 GiB",
        f"{WARMED}, all dirty",
        LOOP,
        at_least(8),
        lambda goal: _against_loop(GIB, effort, goal),
    )
    yield Row(
        "clear-fault",
        "core clear, 128 GiB, IPAF at a random rank",
        f"{WARMED}, all dirty; another rank each round",
        "without a fault",
        at_most(2),
        lambda goal: _with_fault(large, effort, goal),
    )
