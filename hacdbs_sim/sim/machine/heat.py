"""A slot as a heat map: how many pages of each bin are dirty, and in which state of stage 2.

Whole planes are counted word by word, block leaves by arithmetic on their bounds, so 33 million pages take
some milliseconds and nothing of their size is made.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model import MAX_BINS, Counts, GetHeat, Heat, LeafState
from hacdbs_sim.model.errors import WindowOutsideMemslotError
from hacdbs_sim.model.pages import flags_of
from hacdbs_sim.model.words import WORD_BITS, Words, words_for
from hacdbs_sim.sim.arm64.blocks import BlockLevel
from hacdbs_sim.sim.arm64.descriptor import (
    READ_ONLY,
    READ_WRITE,
    STATES,
    WRITABLE_CLEAN,
    WRITABLE_DIRTY,
)
from hacdbs_sim.sim.arm64.regions import stage2_of
from hacdbs_sim.sim.arm64.stage2 import Stage2
from hacdbs_sim.sim.kvm.memslots import Memslot

_MAPPED_LEAVES: Final = (READ_ONLY, READ_WRITE, WRITABLE_CLEAN, WRITABLE_DIRTY)


def read_heat(slot: Memslot, query: GetHeat) -> Heat:
    """Count the pages of a window of a slot by bin; large bins are whole words.

    Raises:
        WindowOutsideMemslotError: The window begins behind the slot's end.
    """
    bins, npages = query.bins, slot.region.npages
    assert 1 <= bins <= MAX_BINS, f"bins must be 1..{MAX_BINS}, not {bins}"
    if query.first_page >= npages:
        raise WindowOutsideMemslotError(
            f"first_page must be below {npages}, the slot's pages, not {query.first_page}",
            field="first_page",
            bound=npages - 1,
            value=query.first_page,
        )
    cut = _Cut.of(_window(query, npages), bins)
    return Heat(
        slot=slot.region.slot,
        npages=npages,
        first_page=cut.pages.start,
        num_pages=len(cut.pages),
        bins=-(-len(cut.pages) // cut.pages_per_bin),
        pages_per_bin=cut.pages_per_bin,
        dirty=None if slot.log is None else cut.count(slot.log.words),
        **{state.value: counts for state, counts in _states(stage2_of(slot), cut).items()},
    )


def _window(query: GetHeat, npages: int) -> range:
    """Return the pages to count: whole words, or up to the slot's end."""
    wanted = npages if query.num_pages is None else query.num_pages
    return range(query.first_page, min(query.first_page + words_for(wanted) * WORD_BITS, npages))


def _states(stage2: Stage2, cut: "_Cut") -> dict[LeafState, Counts]:
    mapped, writable, dbm = map(cut.count, (stage2.mapped, stage2.writable, stage2.dbm))
    both = cut.count(stage2.writable, stage2.dbm)
    counts = {
        # A page leaf that has S2AP[1] or DBM is mapped, so what has neither is the rest.
        LeafState.READ_ONLY: mapped - writable - dbm + both,
        LeafState.READ_WRITE: writable - both,
        LeafState.WRITABLE_CLEAN: dbm - both,
        LeafState.WRITABLE_DIRTY: both,
    }
    for level in stage2.levels:
        if level.present:
            for leaf in _MAPPED_LEAVES:
                counts[STATES[leaf]] += cut.covered(level, np.flatnonzero(level.leaves == leaf))
    return {LeafState.UNMAPPED: cut.sizes() - sum(counts.values()), **counts}


@dataclass(frozen=True, slots=True)
class _Cut:
    """How a window of a slot is cut."""

    pages: range
    pages_per_bin: int

    @classmethod
    def of(cls, pages: range, bins: int) -> "_Cut":
        pages_per_bin = max(-(-len(pages) // bins), 1)
        if pages_per_bin >= WORD_BITS:
            pages_per_bin = words_for(pages_per_bin) * WORD_BITS
        return cls(pages, pages_per_bin)

    def edges(self) -> Counts:
        """Return the page at which each bin begins, and the window's end."""
        starts = np.arange(self.pages.start, self.pages.stop, self.pages_per_bin, dtype=np.int64)
        return np.append(starts, self.pages.stop)

    def sizes(self) -> Counts:
        """Return how many pages each bin has."""
        return np.diff(self.edges())

    def count(self, plane: Words, also: Words | None = None) -> Counts:
        """Count the bits of each bin, of one plane or of those that are set in both."""
        if not plane.strides[0]:  # of `unset_words`
            return np.zeros(len(self.edges()) - 1, np.int64)
        window = slice(self.pages.start // WORD_BITS, words_for(self.pages.stop))
        words = plane[window] if also is None else plane[window] & also[window]
        if self.pages_per_bin >= WORD_BITS:
            counts = np.bitwise_count(words)
            starts = np.arange(0, len(words), self.pages_per_bin // WORD_BITS)
        else:  # less than 2**19 pages: MAX_BINS bins of less than a word
            counts = flags_of(words, len(self.pages)).view(np.uint8)
            starts = np.arange(0, len(self.pages), self.pages_per_bin)
        return np.add.reduceat(counts, starts, dtype=np.int64)

    def covered(self, level: BlockLevel, blocks: NDArray[np.intp]) -> Counts:
        """Count the pages of each bin that lie in some blocks, ascending."""
        starts = np.array([level.first_page(0)], np.int64) + blocks * level.pages
        edges = self.edges()
        begun = np.searchsorted(starts, edges, side="right")  # blocks that begin at or before
        if not len(starts):
            return np.zeros(len(edges) - 1, np.int64)
        inside = np.minimum(edges - starts[np.maximum(begun - 1, 0)], level.pages)
        below = np.where(begun > 0, (begun - 1) * level.pages + inside, 0)
        return np.diff(below)
