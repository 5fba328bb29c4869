"""Block leaves of one memslot at one lookup level: one byte a block, and which page lies where.

Blocks are aligned in guest-physical space, so a slot whose base is not aligned has pages before its
first whole block and after its last, and one word of a bitmap may straddle two blocks. Only whole
blocks inside the slot can be leaves (docs/kernel.md S.2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.words import WORD_BITS, WordMask, Words, mask_of_ranges
from hacdbs_sim.sim.arm64.descriptor import Leaf

Blocks = NDArray[np.intp]
"""Numbers of blocks, ascending without repeats; 0 is the slot's first whole block."""


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """The pages of a mask cut by block: block intp[k] ascending, word intp[k], bits uint64[k].

    `word` is the place in the mask's own arrays, not in the plane.
    """

    block: NDArray[np.intp]
    word: NDArray[np.intp]
    bits: Words

    def where(self, keep: NDArray[np.bool_]) -> "Pieces":
        """Keep some pieces."""
        return Pieces(self.block[keep], self.word[keep], self.bits[keep])

    def firsts(self) -> NDArray[np.intp]:
        """Return where in the pieces each block's first one is."""
        if not len(self.block):
            return np.empty(0, np.intp)
        return np.flatnonzero(np.concatenate(([True], self.block[1:] != self.block[:-1])))

    def blocks(self) -> Blocks:
        """Return the blocks that the pieces touch."""
        return self.block[self.firsts()]

    def without(self, bits: Words) -> Words:
        """Take the pieces' pages out of the mask's bits."""
        left = bits.copy()
        # A word that straddles two blocks has two pieces, so assignment would lose one.
        np.bitwise_and.at(left, self.word, ~self.bits)
        return left

    def within(self, bits: Words) -> Words:
        """Keep only the pieces' pages of the mask's bits."""
        return bits & ~self.without(bits)


class BlockLevel:
    """The blocks of one level.

    Attributes:
        level: Lookup level of the leaves, 1 or 2.
        pages: Pages in a block.
        leaves: uint8[number of whole blocks], a `Leaf` each; write it by `set` only.
        present: How many leaves are mapped.
    """

    __slots__ = ("_first", "leaves", "level", "pages", "present")

    def __init__(self, level: int, pages: int, base_gfn: int, npages: int) -> None:
        self.level = level
        self.pages = pages
        self._first = -base_gfn % pages  # the first whole block's first page
        count = max((npages - self._first) // pages, 0)
        self.leaves: NDArray[np.uint8] = np.zeros(count, np.uint8)
        self.present = 0

    def first_page(self, block: int) -> int:
        """Return a block's first page, counted from the slot's start."""
        return self._first + block * self.pages

    def block_of(self, page: int) -> int | None:
        """Return the block that holds a page; None where no whole block does."""
        block = (page - self._first) // self.pages
        return block if 0 <= block < len(self.leaves) else None

    def leaf_at(self, page: int) -> int:
        """Return the leaf byte over a page, 0 where none is."""
        block = self.block_of(page)
        return 0 if block is None else int(self.leaves[block])

    def set(self, blocks: Blocks, leaf: int | NDArray[np.uint8]) -> None:
        """Make the leaves of some blocks (unmapped: 0)."""
        before = int(np.count_nonzero(self.leaves[blocks]))
        self.leaves[blocks] = leaf
        self.present += int(np.count_nonzero(self.leaves[blocks])) - before

    def mapped(self) -> Blocks:
        """Return the blocks that are leaves."""
        return np.flatnonzero(self.leaves)

    def edges(self) -> NDArray[np.int64]:
        """Return the pages at which the leaf over a page changes, none counted as a leaf: int64[k]."""
        around = np.concatenate(([0], self.leaves, [0]))
        changed = np.flatnonzero(around[1:] != around[:-1])
        return self._first + changed.astype(np.int64) * self.pages

    def pages_of(self, blocks: Blocks) -> WordMask:
        """Return the pages of some blocks as words of the slot's planes."""
        first = self._first + blocks.astype(np.int64) * self.pages
        return mask_of_ranges(first, first + self.pages)

    def pieces(self, mask: WordMask) -> Pieces:
        """Cut a mask by block; pages outside every whole block are left out."""
        starts = mask.indices() * WORD_BITS - self._first
        low = starts // self.pages
        word = np.arange(len(low))
        edge = self._first % WORD_BITS
        if not edge:
            return self._pieces(low, word, mask.bits)
        # The boundary cuts a straddling word after its first `edge` pages.
        straddles = (starts + WORD_BITS - 1) // self.pages != low
        before = np.where(straddles, np.uint64((1 << edge) - 1), ~np.uint64(0))
        return self._pieces(
            np.column_stack((low, low + 1)).ravel(),
            np.repeat(word, 2),
            np.column_stack((mask.bits & before, mask.bits & ~before)).ravel(),
        )

    def _pieces(self, block: NDArray[np.intp], word: NDArray[np.intp], bits: Words) -> Pieces:
        found = Pieces(block, word, bits)
        return found.where((block >= 0) & (block < len(self.leaves)) & (bits != 0))

    def mapped_pieces(self, mask: WordMask) -> Pieces:
        """Cut a mask by block, keeping only the blocks that are leaves."""
        pieces = self.pieces(mask)
        return pieces.where(self.leaves[pieces.block] != Leaf.NONE)
