"""The entries of one call, without making them: the masked pages of a window in ascending order.

An entry is its rank. What the routine would put into its arrays one by one follows from the words
and their counts of set bits; prefix sums are taken only in the tile that holds a rank.
"""

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.words import (
    WORD_BITS,
    WordMask,
    Words,
    first_bits,
    positions_of_ranks,
    sum_counts,
    word_of_rank,
)


class Entries:
    """Masked pages of some words as entries, from some rank on.

    Attributes:
        mask: The pages, counted from the slot's start.
        before: The rank of the first of them: the entries already processed.
        total: T, those among them.
    """

    __slots__ = ("_counts", "before", "mask", "total")

    def __init__(
        self,
        mask: WordMask,
        before: int = 0,
        counts: NDArray[np.uint8] | None = None,
        count: int | None = None,
    ) -> None:
        self.mask = mask
        self.before = before
        self._counts = np.bitwise_count(mask.bits) if counts is None else counts
        self.total = before + (sum_counts(self._counts) if count is None else count)

    def first(self, count: int) -> "Entries":
        """Return the entries of ranks below `count`."""
        if count >= self.total:
            return self
        count = max(count, self.before)
        head = self.words_of_first(count)
        if head.total == count:
            return head
        bits = head.mask.bits.copy()
        kept = int(bits[-1]).bit_count() - (head.total - count)
        bits[-1] = first_bits(int(bits[-1]), kept)
        return Entries(head.mask.with_bits(bits), self.before)

    def words_of_first(self, count: int) -> "Entries":
        """Return all entries of the words that hold ranks below `count`: up to the frontier."""
        if count >= self.total:
            return self
        words = 0
        if count > self.before:
            words = word_of_rank(self._counts, count - 1 - self.before)[0] + 1
        return Entries(self.mask.head(words), self.before, self._counts[:words])

    def but_first(self, first: "Entries") -> WordMask:
        """Return the entries that are not among some first ones of the same words."""
        left = self.mask.bits.copy()
        left[: len(first.mask.bits)] &= ~first.mask.bits
        return self.mask.with_bits(left)

    def rank_of_page(self, page: int) -> int | None:
        """Return the rank of a page's entry; None where it has none."""
        found = self.mask.find(page)
        return None if found is None else self._rank(*found)

    def first_of(self, bad: Words) -> tuple[int, int] | None:
        """Find the first entry among some, uint64[k]: its rank and page; None without any."""
        if not bad.any():
            return None
        word = int(np.argmax(bad != 0))
        bit = (int(bad[word]) & -int(bad[word])).bit_length() - 1
        return self._rank(word, bit), self.mask.word_at(word) * WORD_BITS + bit

    def pages(self, ranks: list[int]) -> list[int]:
        """Return the pages of the entries of some ranks, ascending."""
        if not ranks:
            return []
        own = np.array(ranks, np.int64) - self.before
        position = positions_of_ranks(self.mask.bits, own)
        page = self.mask.indices()[position // WORD_BITS] * WORD_BITS + position % WORD_BITS
        return [int(each) for each in page]

    def _rank(self, word: int, bit: int) -> int:
        """Count the entries before one: those of the words before, the lower bits of its own."""
        before = self.before + int(self._counts[:word].sum(dtype=np.int64))
        return before + (int(self.mask.bits[word]) & ((1 << bit) - 1)).bit_count()
