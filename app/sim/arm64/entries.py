"""The entries of one call, without making them: the masked pages of a window in ascending order.

An entry is its rank. What the routine would put into its arrays one by one is told from the words
and their counts of set bits, and prefix sums are taken only in the tile that holds a rank.
"""

import numpy as np
from numpy.typing import NDArray

from app.sim.base.words import (
    WORD_BITS,
    WordMask,
    Words,
    first_bits,
    positions_of_ranks,
    word_of_rank,
)


class Entries:
    """Masked pages as entries.

    Attributes:
        mask: The pages, counted from the slot's start.
        total: T, how many.
    """

    __slots__ = ("_counts", "mask", "total")

    def __init__(self, mask: WordMask, counts: NDArray[np.uint8] | None = None) -> None:
        self.mask = mask
        self._counts = np.bitwise_count(mask.bits) if counts is None else counts
        self.total = int(self._counts.sum(dtype=np.int64))

    def first(self, count: int) -> "Entries":
        """Give the first entries, as many as `count`."""
        if count == self.total:
            return self
        if not count:
            return Entries(self.mask.head(0), self._counts[:0])
        last, before = word_of_rank(self._counts, count - 1)
        head = self.mask.head(last + 1)
        bits = head.bits.copy()
        bits[last] = first_bits(int(bits[last]), count - before)
        return Entries(head.with_bits(bits))

    def words_of_first(self, count: int) -> "Entries":
        """Give all entries of the words that hold the first `count`: up to the frontier."""
        if count == self.total:
            return self
        last, _ = word_of_rank(self._counts, count - 1)
        return Entries(self.mask.head(last + 1), self._counts[: last + 1])

    def but_first(self, first: "Entries") -> WordMask:
        """Give the entries that are not among some first ones of the same words."""
        left = self.mask.bits.copy()
        left[: len(first.mask.bits)] &= ~first.mask.bits
        return self.mask.with_bits(left)

    def rank_of_page(self, page: int) -> int | None:
        """Give the rank of a page's entry; None where it has none."""
        found = self.mask.find(page)
        return None if found is None else self._rank(*found)

    def first_of(self, bad: Words) -> tuple[int, int] | None:
        """Find the first entry among some: its rank and its page; None where there is none.

        Args:
            bad: uint64[k], a subset of the mask's bits.
        """
        if not bad.any():
            return None
        word = int(np.argmax(bad != 0))
        bit = (int(bad[word]) & -int(bad[word])).bit_length() - 1
        return self._rank(word, bit), self.mask.word_at(word) * WORD_BITS + bit

    def pages(self, ranks: list[int]) -> list[int]:
        """Give the pages of the entries of some ranks, ascending."""
        if not ranks:
            return []
        position = positions_of_ranks(self.mask.bits, np.array(ranks, np.int64))
        page = self.mask.indices()[position // WORD_BITS] * WORD_BITS + position % WORD_BITS
        return [int(each) for each in page]

    def _rank(self, word: int, bit: int) -> int:
        """Count the entries before one: those of the words before, the lower bits of its own."""
        before = int(self._counts[:word].sum(dtype=np.int64))
        return before + (int(self.mask.bits[word]) & ((1 << bit) - 1)).bit_count()
