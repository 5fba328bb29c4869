"""The stage-2 leaves of one memslot: faults, write-protect, splits (arch/arm64/kvm/mmu.c).

Page leaves are three packed planes of one bit a page (`mapped`, `writable`: S2AP[1], `dbm`), named
for what a 1 means; block leaves are one byte a block (`blocks.py`). A page under a block leaf is 0
in every plane, so "is there a clean-or-dirty page leaf" is one AND with `dbm`. A leaf is WD, WC and
so on by descriptor.py. Rules: design.md 3.2, domain.md B.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.sim.arm64.blocks import BlockLevel, Blocks, Pieces
from app.sim.arm64.descriptor import (
    READ_ONLY,
    READ_WRITE,
    WRITABLE_DIRTY,
    Leaf,
    LeafState,
    leaf_descriptor,
)
from app.sim.base.units import BLOCK_SIZES_BYTES, PAGE_LEVEL
from app.sim.base.words import (
    ALL_ONES,
    WORD_BITS,
    WordMask,
    Words,
    drop_bits,
    lowest,
    popcount,
    unset_words,
    words_for,
)
from app.sim.kvm.mmu import NO_FAULTS, Faults
from app.sim.kvm.region import MemslotFlags, Region

PLANES = 3


@dataclass(frozen=True, slots=True)
class Stage2Run:
    """Neighbouring pages equal in level and state.

    `level` is None and `descriptor` 0 where nothing is mapped; else `descriptor` is the 64-bit leaf
    descriptor that translates the run's first page.
    """

    gfn: int
    count: int
    level: int | None
    state: LeafState
    descriptor: int


@dataclass(slots=True, eq=False)
class Splitting:
    """How splits go during one call, and which were asked for in vain.

    Attributes:
        chunk_size_bytes: The VM's eager-split chunk size, not 0.
        all_fail: No page table can be had at all.
        failing_pages: Pages whose leaf does not split (from the slot's start).
        any_failed: Whether a split was asked for that failed.
        failed_pages: Those of `failing_pages` whose leaf was asked to split.
    """

    chunk_size_bytes: int
    all_fail: bool = False
    failing_pages: tuple[int, ...] = ()
    any_failed: bool = False
    failed_pages: set[int] = field(default_factory=set)

    def fails(self, level: BlockLevel, blocks: Blocks) -> NDArray[np.bool_]:
        """Tell which blocks will not split in this call: bool[k]."""
        if self.all_fail:
            return np.ones(len(blocks), np.bool_)
        failing = [level.block_of(page) for page in self.failing_pages]
        return np.isin(blocks, np.array([b for b in failing if b is not None], np.intp))

    def note_failed(self, level: BlockLevel, blocks: Blocks) -> None:
        """Remember blocks that were asked to split and did not."""
        self.any_failed |= len(blocks) > 0
        self.failed_pages.update(
            page for page in self.failing_pages if level.block_of(page) in blocks
        )


class Stage2:
    """Stage 2 of one memslot.

    Attributes:
        mapped, writable, dbm: uint64[ALIGN(npages, 64) / 64] each, page leaves only; shared zeros
            (`unset_words`) until the first page leaf is made.
        levels: Block leaves, largest block first; only levels that the backing allows.
    """

    __slots__ = (
        "_all_dbm_words",
        "_has_pages",
        "_region",
        "_writable_leaf",
        "dbm",
        "levels",
        "mapped",
        "writable",
    )

    def __init__(self, region: Region, *, dbm: bool) -> None:
        self._region = region
        if region.has(MemslotFlags.READONLY):
            self._writable_leaf = READ_ONLY
        else:
            self._writable_leaf = WRITABLE_DIRTY if dbm else READ_WRITE
        self.unmap_all()

    def unmap_all(self) -> None:
        """Start over with nothing mapped (kvm_arch_flush_shadow_memslot)."""
        region = self._region
        words = words_for(region.npages)
        self._has_pages = False
        self._all_dbm_words = 0
        self.mapped: Words = unset_words(words)
        self.writable: Words = unset_words(words)
        self.dbm: Words = unset_words(words)
        self.levels = tuple(
            BlockLevel(level, size // region.page_size, region.base_gfn, region.npages)
            for level, size in BLOCK_SIZES_BYTES[region.page_size].items()
            if size <= region.backing
            and (region.guest_phys_addr - region.userspace_addr) % size == 0
        )

    @staticmethod
    def state_bytes(npages: int, page_size: int) -> int:
        """Give the bytes of the planes and block leaves of a slot, at most."""
        blocks = sum(npages * page_size // size for size in BLOCK_SIZES_BYTES[page_size].values())
        return PLANES * words_for(npages) * 8 + blocks

    # What guest accesses do: user_mem_abort()

    def write_fault(self, pages: WordMask, *, is_logging: bool) -> Faults:
        """Write to pages as a guest does; see `Mappings`."""
        if self.levels:
            pages = pages.spread()
        if is_logging:
            return self._write_while_logging(pages)
        return self._write_freely(pages)

    def read_fault(self, pages: WordMask, *, is_logging: bool) -> Faults:
        """Read pages as a guest does: only an unmapped page faults (domain.md B.4)."""
        if self.levels:
            pages = pages.spread()
        bits = pages.bits
        for level in self._used_levels():
            bits = level.mapped_pieces(pages).without(bits)
        missing = pages.with_bits(bits & ~self.mapped[pages.at])
        if not is_logging:
            return self._map_largest(missing)
        count = popcount(missing.bits)
        if count:
            self._set_pages(missing, Leaf.MAPPED)
        return Faults(count, 0, 0, 0)

    def _write_while_logging(self, pages: WordMask) -> Faults:
        """Map single pages; a block that is not writable is broken for its faulting page."""
        bits = pages.bits
        broken = 0
        for level in self._used_levels():
            pieces = level.mapped_pieces(pages)
            writable = (level.leaves[pieces.block] & Leaf.WRITABLE) != 0
            lost = pieces.where(~writable).blocks()
            level.set(lost, Leaf.NONE)
            broken += len(lost)
            bits = pieces.where(writable).without(bits)
        faulting = bits & ~self.writable[pages.at]
        count = popcount(faulting)
        if not count:
            return NO_FAULTS
        met = popcount(faulting & self.mapped[pages.at])
        written = pages.with_bits(faulting)
        self._set_pages(written, self._writable_leaf)
        return Faults(
            # The first page written in a broken block met the block, the others found it gone.
            translation=count - met - broken,
            permission=met + broken,
            block_splits=broken,
            blocks_mapped=0,
            written=written,
        )

    def _write_freely(self, pages: WordMask) -> Faults:
        """Map the largest blocks; a block that is not writable becomes so as it is."""
        bits = pages.bits
        clean: list[tuple[BlockLevel, Pieces]] = []
        for level in self._used_levels():
            pieces = level.mapped_pieces(pages)
            bits = pieces.without(bits)
            read_only = (level.leaves[pieces.block] & Leaf.WRITABLE) == 0
            clean.append((level, pieces.where(read_only)))
        faulting = pages.with_bits(bits & ~self.writable[pages.at])
        relaxed = 0
        for level, pieces in clean:
            reached = self._blocks_before_faults(level, pieces, faulting)
            level.set(reached, self._writable_leaf)
            relaxed += len(reached)
        faults = self._map_largest(faulting)
        return Faults(
            faults.translation, faults.permission + relaxed, 0, faults.blocks_mapped, None
        )

    def _blocks_before_faults(
        self, level: BlockLevel, pieces: Pieces, faulting: WordMask
    ) -> Blocks:
        """Keep the blocks written before a fault maps a larger block over them."""
        reached = pieces.blocks()
        for larger in self.levels:
            if larger.pages <= level.pages or not len(larger.leaves) or not len(reached):
                continue
            faults = larger.pieces(faulting)
            firsts = faults.firsts()
            over = np.full(len(larger.leaves), np.iinfo(np.int64).max)
            over[faults.block[firsts]] = faulting.indices()[faults.word[firsts]] * WORD_BITS
            # Both are multiples of a word apart from a block's own edge, so compare by word start:
            # a faulting page never lies in the smaller block itself.
            starts = level.first_page(0) + reached * level.pages
            holder = (starts - larger.first_page(0)) // larger.pages
            inside = (holder >= 0) & (holder < len(larger.leaves))
            limit = np.where(
                inside, over[np.clip(holder, 0, len(larger.leaves) - 1)], np.iinfo(np.int64).max
            )
            reached = reached[starts < limit]
        return reached

    def _map_largest(self, faulting: WordMask) -> Faults:
        """Map, for each faulting page, the largest allowed block that holds it, else the page.

        The block replaces whatever table was there. One fault maps it: that of its lowest page.
        """
        translation = permission = mapped_blocks = 0
        bits = faulting.bits
        mapped = self.mapped[faulting.at]
        for number, level in enumerate(self.levels):
            pieces = level.pieces(faulting.with_bits(bits))
            firsts = pieces.firsts()
            blocks = pieces.block[firsts]
            if not len(blocks):
                continue
            met = mapped[pieces.word[firsts]] & lowest(pieces.bits[firsts])
            permission += int(np.count_nonzero(met))
            translation += int(np.count_nonzero(met == 0))
            mapped_blocks += len(blocks)
            bits = pieces.without(bits)
            self._replace_table(level, self.levels[number + 1 :], blocks)
        count, known = popcount(bits), popcount(bits & mapped)
        if count:
            self._set_pages(faulting.with_bits(bits), self._writable_leaf)
        permission += known
        translation += count - known
        return Faults(translation, permission, 0, mapped_blocks)

    def _replace_table(
        self, level: BlockLevel, smaller: Iterable[BlockLevel], blocks: Blocks
    ) -> None:
        under = level.pages_of(blocks)
        self._clear_pages(under)
        for inner in smaller:
            inner.set(inner.mapped_pieces(under).blocks(), Leaf.NONE)
        level.set(blocks, self._writable_leaf)

    # Cleaning and unmapping

    def unmap(self, pages: WordMask) -> None:
        """Unmap pages, whole blocks included (an MMU notifier)."""
        if self.levels:
            pages = pages.spread()
        for level in self._used_levels():
            level.set(level.mapped_pieces(pages).blocks(), Leaf.NONE)
        self._clear_pages(pages)

    def write_protect(self, pages: WordMask) -> int:
        """Clear S2AP[1] of the leaves over some pages; count those that had it."""
        protected = 0
        for level in self._used_levels():
            blocks = level.mapped_pieces(pages).blocks()
            writable = blocks[(level.leaves[blocks] & Leaf.WRITABLE) != 0]
            level.leaves[writable] &= ~np.uint8(Leaf.WRITABLE)
            protected += len(writable)
        if self._has_pages:
            lose = self.writable[pages.at] & pages.bits
            self.writable[pages.at] ^= lose
            protected += popcount(lose)
        return protected

    def write_protect_all(self) -> None:
        """Clear S2AP[1] everywhere (kvm_mmu_wp_memory_region)."""
        if self._has_pages:
            self.writable[:] = 0
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
        in range become pages (domain.md B.2).
        """
        split = 0
        for number, level in enumerate(self.levels):
            if not level.present:
                continue
            asked = level.mapped_pieces(pages).blocks()
            fails = splitting.fails(level, asked)
            splitting.note_failed(level, asked[fails])
            blocks = asked[~fails]
            smaller = self.levels[number + 1 :]
            if smaller and splitting.chunk_size_bytes < level.pages * self._region.page_size:
                self._split_to_blocks(level, smaller[0], blocks)
                split += len(blocks)
            else:
                split += self._split_to_pages(level, blocks)
        return split

    def clean(self, pages: WordMask, ttwl: int) -> None:
        """Turn WD leaves of a level into WC, as the HACDBS unit does (domain.md D)."""
        if ttwl == PAGE_LEVEL:
            if self._has_pages:
                drop_bits(self.writable, pages)
            return
        for level in self.levels:
            if level.level == ttwl:
                blocks = level.mapped_pieces(pages).blocks()
                level.leaves[blocks] &= ~np.uint8(Leaf.WRITABLE)

    def uncleanable(self, pages: WordMask, ttwl: int, splitting: Splitting | None) -> Words | None:
        """Tell which pages an entry of a TTWL cannot clean once the call's splits are done.

        Returns:
            uint64[k], a subset of `pages.bits`; None where it is known that there are none.
        """
        if ttwl == PAGE_LEVEL and self._all_have_dbm(pages):
            return None
        bad = self._cleanable(pages, ttwl, splitting)
        bad ^= pages.bits
        return bad

    def _all_have_dbm(self, pages: WordMask) -> bool:
        """Tell from what is remembered, or can be learnt next, that no page of some words lacks DBM.

        DBM comes with the first write and goes only with the page, so a slot in use soon has it
        everywhere and its entries need no look: without it a clear of 128 GiB takes 1.3 ms, with it 1.9.
        What is remembered is how many words, from the first on, are known to have no page without.
        """
        known, end = self._all_dbm_words, pages.word_at(len(pages.bits) - 1) + 1
        if end <= known:
            return True
        if pages.word_at(0) > known or not (self.dbm[known:end] == ALL_ONES).all():
            return False
        self._all_dbm_words = end
        return True

    def _cleanable(self, pages: WordMask, ttwl: int, splitting: Splitting | None) -> Words:
        """Tell which pages an entry of a TTWL can clean once the call's splits are done.

        That is: their leaf is at that level and is WC or WD. A leaf depends only on the split that
        its own word asks for, so this can be told before any split is done.

        Returns:
            uint64[k], a subset of `pages.bits`.
        """
        good = pages.bits & self.dbm[pages.at] if ttwl == PAGE_LEVEL else np.zeros_like(pages.bits)
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

    # Looks

    def leaf(self, page: int) -> tuple[int | None, int]:
        """Give the level (None: no leaf) and the `Leaf` bits of a page."""
        for level in self.levels:
            leaf = level.leaf_at(page)
            if leaf:
                return level.level, leaf
        word, bit = divmod(page, WORD_BITS)
        leaf = sum(flag for flag, plane in self._planes() if int(plane[word]) >> bit & 1)
        return (PAGE_LEVEL if leaf else None), leaf

    def run_starts(self, first_page: int, end_page: int, most: int) -> NDArray[np.int64]:
        """Find where runs of pages equal in level and state begin, from `first_page` on.

        Returns:
            int64[k], ascending, `first_page` itself first; at most `most` of them.
        """
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
        """Give the 64-bit leaf descriptor that translates a page, 0 where none does."""
        level, leaf = self.leaf(page)
        if level is None:
            return 0
        size = self._region.page_size
        if level != PAGE_LEVEL:
            size = BLOCK_SIZES_BYTES[size][level]
        ipa = self._region.guest_phys_addr + page * self._region.page_size
        return leaf_descriptor(leaf, level, ipa - ipa % size)

    # Pieces of the above

    def _used_levels(self) -> list[BlockLevel]:
        return [level for level in self.levels if level.present]

    def _planes(self) -> tuple[tuple[int, Words], ...]:
        return (
            (Leaf.MAPPED, self.mapped),
            (Leaf.WRITABLE, self.writable),
            (Leaf.DBM, self.dbm),
        )

    def _own_planes(self) -> None:
        """Have planes that can be written, before the first bit is set in one."""
        if self._has_pages:
            return
        words = len(self.mapped)
        # Zeroed lazily by the system where they are large: 1 TiB costs what is touched of it.
        self.mapped = np.zeros(words, np.uint64)
        self.writable = np.zeros(words, np.uint64)
        self.dbm = np.zeros(words, np.uint64)
        self._has_pages = True

    def _set_pages(self, pages: WordMask, leaf: int) -> None:
        self._own_planes()
        for flag, plane in self._planes():
            if leaf & flag:
                plane[pages.at] |= pages.bits

    def _clear_pages(self, pages: WordMask) -> None:
        if not self._has_pages:
            return
        self._all_dbm_words = min(self._all_dbm_words, pages.word_at(0))
        for _, plane in self._planes():
            drop_bits(plane, pages)

    def _split_to_pages(self, level: BlockLevel, blocks: Blocks) -> int:
        """Give the children exactly the block's state (design.md 3.2)."""
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
