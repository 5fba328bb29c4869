"""Stage 2 of one memslot: faults, cleaning, and queries of its leaves."""

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.units import BLOCK_SIZES_BYTES, PAGE_LEVEL
from hacdbs_sim.model.words import ALL_ONES, WORD_BITS, words_for
from hacdbs_sim.sim.arm64.descriptor import leaf_descriptor
from hacdbs_sim.sim.arm64.leaf_cleaning import CleanableLeaves
from hacdbs_sim.sim.arm64.leaf_faults import FaultingLeaves


class Stage2(FaultingLeaves, CleanableLeaves):
    """Stage 2 of one memslot."""

    __slots__ = ()

    def leaf(self, page: int) -> tuple[int | None, int]:
        """Return the level (None: no leaf) and the `Leaf` bits of a page."""
        for level in self.levels:
            leaf = level.leaf_at(page)
            if leaf:
                return level.level, leaf
        word, bit = divmod(page, WORD_BITS)
        leaf = sum(flag for flag, plane in self._planes() if int(plane[word]) >> bit & 1)
        return (PAGE_LEVEL if leaf else None), leaf

    def run_starts(self, first_page: int, end_page: int, most: int) -> NDArray[np.int64]:
        """Find where runs of equal pages begin, `first_page` first: int64[k], k <= most."""
        start = first_page // WORD_BITS
        words = slice(start, words_for(end_page))
        changes = np.zeros(words.stop - start, np.uint64)
        for _, plane in self._planes():
            here = plane[words]
            before = here << np.uint64(1)
            before[1:] |= here[:-1] >> np.uint64(WORD_BITS - 1)
            changes |= here ^ before
        for level in self._used_levels():
            edges = level.edges()
            edges = edges[(edges > first_page) & (edges < end_page)]
            bits = np.uint64(1) << (edges % WORD_BITS).astype(np.uint64)
            np.bitwise_or.at(changes, edges // WORD_BITS - start, bits)
        skipped = np.uint64(first_page % WORD_BITS)
        changes[0] = (changes[0] >> skipped | np.uint64(1)) << skipped
        changes[-1] &= ALL_ONES >> np.uint64(-end_page % WORD_BITS)
        found = np.flatnonzero(changes)[:most]
        row, bit = np.nonzero(
            np.unpackbits(
                changes[found].astype("<u8").view(np.uint8).reshape(-1, 8),
                axis=1,
                bitorder="little",
            )
        )
        return ((start + found[row]) * WORD_BITS + bit)[:most]

    def descriptor(self, page: int) -> int:
        """Return the 64-bit leaf descriptor that translates a page, 0 where none does."""
        level, leaf = self.leaf(page)
        if level is None:
            return 0
        size = self._region.page_size
        if level != PAGE_LEVEL:
            size = BLOCK_SIZES_BYTES[size][level]
        ipa = self._region.guest_phys_addr + page * self._region.page_size
        return leaf_descriptor(leaf, level, ipa - ipa % size)
