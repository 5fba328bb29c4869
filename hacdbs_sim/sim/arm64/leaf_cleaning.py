"""Write-protect, split and clean the stage-2 leaves of one memslot (arch/arm64/kvm/mmu.c).

Rules: docs/kernel.md S.2, B.1 to B.3, D.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.units import PAGE_LEVEL
from hacdbs_sim.model.words import (
    ALL_ONES,
    WordMask,
    Words,
    clear_words,
    drop_bits,
    keep_bits,
    popcount,
)
from hacdbs_sim.sim.arm64.blocks import BlockLevel, Blocks
from hacdbs_sim.sim.arm64.descriptor import Leaf
from hacdbs_sim.sim.arm64.leaves import Leaves


@dataclass(slots=True, eq=False)
class Splitting:
    """How splits end during one call, and which failed."""

    chunk_size_bytes: int
    """The VM's eager-split chunk size, not 0."""
    all_fail: bool = False
    """No page table can be allocated at all."""
    failing_pages: tuple[int, ...] = ()
    """Pages whose leaf does not split (from the slot's start)."""
    any_failed: bool = False
    """Whether a requested split failed."""
    failed_pages: set[int] = field(default_factory=set)
    """Those of `failing_pages` whose leaf was to split."""

    def fails(self, level: BlockLevel, blocks: Blocks) -> NDArray[np.bool_]:
        """Return which blocks will not split in this call: bool[k]."""
        if self.all_fail:
            return np.ones(len(blocks), np.bool_)
        failing = [level.block_of(page) for page in self.failing_pages]
        return np.isin(blocks, np.array([b for b in failing if b is not None], np.intp))

    def note_failed(self, level: BlockLevel, blocks: Blocks) -> None:
        """Record blocks whose split failed."""
        self.any_failed |= len(blocks) > 0
        self.failed_pages.update(
            page for page in self.failing_pages if level.block_of(page) in blocks
        )


class CleanableLeaves(Leaves):
    """Leaves that lose their write permission: by software, or by the HACDBS unit."""

    __slots__ = ()

    def write_protect(self, pages: WordMask) -> int:
        """Clear S2AP[1] of the leaves over some pages; count those that had it."""
        protected = 0
        for level in self._used_levels():
            blocks = level.mapped_pieces(pages).blocks()
            writable = blocks[(level.leaves[blocks] & Leaf.WRITABLE) != 0]
            level.leaves[writable] &= ~np.uint8(Leaf.WRITABLE)
            protected += len(writable)
        if self._has_writable:
            lose = pages.of(self.writable) & pages.bits
            self.writable[pages.at] ^= lose
            protected += popcount(lose)
        return protected

    def write_protect_all(self) -> None:
        """Clear S2AP[1] everywhere (kvm_mmu_wp_memory_region)."""
        if self._has_writable:
            self.writable = clear_words(self.writable)
            self._has_writable = self.writable.flags.writeable
        for level in self.levels:
            level.leaves &= ~np.uint8(Leaf.WRITABLE)

    def split_all(self) -> int:
        """Split every block into pages (kvm_mmu_split_memory_region); count the blocks."""
        split = 0
        for level in self._used_levels():
            split += self._split_to_pages(level, level.mapped())
        return split

    def split(self, pages: WordMask, splitting: Splitting) -> int:
        """Split the blocks over some pages (kvm_mmu_split_huge_pages); count those that did.

        A chunk below 1 GiB turns a 1 GiB block into 512 blocks of 2 MiB first, of which only those
        in range become pages (docs/kernel.md B.2).
        """
        split = 0
        for number, level in enumerate(self.levels):
            if not level.present:
                continue
            requested = level.mapped_pieces(pages).blocks()
            fails = splitting.fails(level, requested)
            splitting.note_failed(level, requested[fails])
            blocks = requested[~fails]
            smaller = self.levels[number + 1 :]
            if smaller and splitting.chunk_size_bytes < level.pages * self._region.page_size:
                self._split_to_blocks(level, smaller[0], blocks)
                split += len(blocks)
            else:
                split += self._split_to_pages(level, blocks)
        return split

    def clean_all_but(self, words: WordMask) -> None:
        """Turn WD pages of some words into WC, but for their bits, which stay in the log.

        While a slot logs, every page under a writable leaf has its bit set; so where the unit has
        cleaned all that left the log, that is what to clean: one pass, where `clean` takes two.
        """
        if self._has_writable:
            keep_bits(self.writable, words)

    def clean(self, pages: WordMask, ttwl: int) -> None:
        """Turn WD leaves of a level into WC, as the HACDBS unit does (docs/kernel.md D)."""
        if ttwl == PAGE_LEVEL:
            if self._has_writable:
                drop_bits(self.writable, pages)
            return
        for level in self.levels:
            if level.level == ttwl:
                blocks = level.mapped_pieces(pages).blocks()
                level.leaves[blocks] &= ~np.uint8(Leaf.WRITABLE)

    def uncleanable(self, pages: WordMask, ttwl: int, splitting: Splitting | None) -> Words | None:
        """Return which pages an entry of a TTWL cannot clean once the call's splits are done.

        uint64[k], a subset of `pages.bits`; None where it is known that there are none.
        """
        if ttwl == PAGE_LEVEL and (self._all_have_dbm(pages) or self._all_are_writable(pages)):
            return None
        bad = self._cleanable(pages, ttwl, splitting)
        bad ^= pages.bits
        return bad

    @property
    def every_page_has_dbm(self) -> bool:
        """Whether it is known that all pages of the slot are WD or WC page leaves."""
        return self._all_dbm_words == len(self.dbm)

    def _all_have_dbm(self, pages: WordMask) -> bool:
        """Return whether all pages of some words are known to have DBM; learn more where possible.

        DBM comes with the first write and goes only with the page, so a slot in use soon has it
        everywhere and its entries need no test: a clear of 128 GiB takes 1.3 ms, else 1.9. What is kept
        is how many words, from the first on, are known to have no page without.
        """
        known, end = self._all_dbm_words, pages.word_at(len(pages.bits) - 1) + 1
        if end <= known:
            return True
        if pages.word_at(0) > known or not (self.dbm[known:end] == ALL_ONES).all():
            return False
        self._all_dbm_words = end
        return True

    def _all_are_writable(self, pages: WordMask) -> bool:
        """Return whether all pages have writable page leaves, hence DBM: without it there is no unit.

        Tested before `dbm`, as what the guest has dirtied is writable, and that plane is the one to be
        cleaned next: a clear of 128 GiB in which 1 % is mapped takes 1.7 ms so, else 2.8.
        """
        bits = pages.bits
        return self._has_writable and np.array_equal(pages.of(self.writable) & bits, bits)

    def _cleanable(self, pages: WordMask, ttwl: int, splitting: Splitting | None) -> Words:
        """Return which pages an entry of a TTWL can clean once its splits are done: uint64[k].

        That is: their leaf is at that level and is WC or WD. A leaf depends only on the split that
        its own word requests, so this is known before any split is done.
        """
        good = pages.bits & pages.of(self.dbm) if ttwl == PAGE_LEVEL else np.zeros_like(pages.bits)
        for level in self._used_levels():
            pieces = level.mapped_pieces(pages)
            pieces = pieces.where((level.leaves[pieces.block] & Leaf.DBM) != 0)
            stays = (
                np.ones(len(pieces.block), np.bool_)
                if splitting is None
                else splitting.fails(level, pieces.block)
            )
            if ttwl == PAGE_LEVEL:
                good |= pieces.where(~stays).within(pages.bits)
            elif ttwl == level.level:
                good |= pieces.where(stays).within(pages.bits)
        return good

    def _split_to_pages(self, level: BlockLevel, blocks: Blocks) -> int:
        """Split blocks into pages with exactly the block's state (docs/kernel.md S.2)."""
        if not len(blocks):
            return 0
        self._own_planes()
        leaves = level.leaves[blocks]
        for flag, plane in self._planes():
            under = level.pages_of(blocks[(leaves & flag) != 0])
            plane[under.at] |= under.bits
        level.set(blocks, Leaf.NONE)
        return len(blocks)

    @staticmethod
    def _split_to_blocks(level: BlockLevel, smaller: BlockLevel, blocks: Blocks) -> None:
        ratio = level.pages // smaller.pages
        first = (level.first_page(0) - smaller.first_page(0)) // smaller.pages
        children = (first + blocks[:, None] * ratio + np.arange(ratio)).ravel()
        smaller.set(children, np.repeat(level.leaves[blocks], ratio))
        level.set(blocks, Leaf.NONE)
