"""Stage 2 as it is reported: runs of equal leaves, and heat maps."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from hacdbs_sim.model.base import Model, Query
from hacdbs_sim.model.errors import (
    GfnBeyondIpaSpaceError,
    NoSuchMemslotError,
    WindowOutsideMemslotError,
)
from hacdbs_sim.model.kinds import Count, Gfn, Page64, PositiveCount, Register, SlotId, whole
from hacdbs_sim.model.pages import CountsForm, equal_arrays

MAX_BINS: Final = 8_192

Counts = Annotated[NDArray[np.int64], CountsForm()]
Bins = Annotated[int, whole(1, MAX_BINS)]


class LeafState(StrEnum):
    """What a leaf descriptor permits (docs/kernel.md B.5)."""

    UNMAPPED = "unmapped"
    READ_ONLY = "read_only"
    READ_WRITE = "read_write"
    WRITABLE_CLEAN = "writable_clean"
    WRITABLE_DIRTY = "writable_dirty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage2Run(Model):
    """Neighbouring pages equal in level and state."""

    gfn: Gfn
    """The first page."""
    count: Count
    """How many pages."""
    level: Count | None
    """The leaf's lookup level; null where nothing is mapped."""
    state: LeafState
    """What the leaf permits."""
    descriptor: Register
    """The leaf descriptor that translates the first page; 0x0 where nothing is mapped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage2Page(Model):
    """A part of stage 2: runs by gfn, and where to go on."""

    runs: tuple[Stage2Run, ...]
    """Runs of equal pages."""
    next_gfn: Gfn | None
    """The frame to go on from; null at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStage2(Query[Stage2Page]):
    """Show a range of guest frames as runs of pages equal in level and state."""

    refusals = (GfnBeyondIpaSpaceError,)

    gfn: Gfn = 0
    """The first frame."""
    count: Count | None = None
    """How many frames; the range is cut at the end of the IPA space, its default."""
    limit: PositiveCount = 1_000
    """At most so many runs."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Heat(Model):
    """Pages of a slot by bin: how many are dirty, and in which state of stage 2."""

    slot: SlotId
    """The memslot."""
    npages: Count
    """Its pages."""
    first_page: Count
    """Where the first bin begins, in pages of the slot."""
    num_pages: Count
    """Pages of all bins."""
    bins: Count
    """How many bins."""
    pages_per_bin: Count
    """Pages of a bin; the last one may have fewer."""
    dirty: Counts | None
    """Pages in the dirty log, by bin; null where the slot keeps none."""
    unmapped: Counts
    """Pages without a leaf, by bin. The five states of a bin add up to its pages."""
    read_only: Counts
    """Pages under a read-only leaf."""
    read_write: Counts
    """Pages under a plain writable leaf (DBM 0)."""
    writable_clean: Counts
    """Pages under a writable-clean leaf."""
    writable_dirty: Counts
    """Pages under a writable-dirty leaf."""

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Heat):
            return NotImplemented
        return all(
            equal_arrays(getattr(self, name), getattr(other, name)) for name in self.__slots__
        )

    @override
    def __hash__(self) -> int:
        return hash((self.slot, self.npages, self.bins))


@dataclass(frozen=True, slots=True, kw_only=True)
class GetHeat(Query[Heat]):
    """Show a slot as a heat map of at most so many bins."""

    refusals = (NoSuchMemslotError, WindowOutsideMemslotError)

    slot: SlotId
    """The memslot."""
    bins: Bins = 1_024
    """The most bins; from 64 pages on a bin is made of whole words."""
    first_page: Page64 = 0
    """Where the shown part begins, in pages of the slot."""
    num_pages: PositiveCount | None = None
    """Its length, rounded up to whole words and cut at the slot's end; null: to that end."""
