"""The dirty bitmap of one memslot (kvm_memory_slot.dirty_bitmap), with a running count."""

import numpy as np

from app.sim.base.words import (
    WordMask,
    Words,
    fill_first,
    mask_words,
    popcount,
    unset_words,
    words_for,
)


class DirtyBitmap:
    """One bit a page of the slot; bits past the last page stay 0.

    Attributes:
        words: uint64[ALIGN(npages, 64) / 64], bit 0 of word 0 is the slot's first page; shared
            zeros (`unset_words`) until the first bit is set.
        count: Set bits, kept up to date so that nobody sweeps the plane to know it.
    """

    __slots__ = ("count", "npages", "words")

    def __init__(self, npages: int, *, initially_set: bool) -> None:
        self.npages = npages
        self.words: Words = unset_words(words_for(npages))
        self.count = 0
        if initially_set:
            self._own()
            fill_first(self.words, npages)
            self.count = npages

    def mark(self, pages: WordMask) -> int:
        """Set bits; give how many were 0 (mark_page_dirty_in_slot)."""
        old = self.words[pages.at]
        new = popcount(pages.bits & ~old)
        if new:
            self._own()
            self.words[pages.at] |= pages.bits
            self.count += new
        return new

    def take(self, pages: WordMask, count: int) -> None:
        """Clear bits, all of which are set, `count` in all."""
        if count:
            self.words[pages.at] ^= pages.bits
            self.count -= count

    def _own(self) -> None:
        if not self.words.flags.writeable:
            self.words = np.zeros(len(self.words), np.uint64)


class LogWindow:
    """The words of a bitmap that one get or clear is about, and what it asks of them.

    Attributes:
        first_word: Where the window starts in the bitmap.
        user: uint64[k], the user's bits of a clear; None for a get, which asks for everything.
        snapshot: uint64[k], what a get will copy to userspace; None for a clear.
    """

    __slots__ = ("_log", "first_word", "num_words", "snapshot", "user")

    def __init__(
        self, log: DirtyBitmap, first_word: int, num_words: int, user: Words | None
    ) -> None:
        self._log = log
        self.first_word = first_word
        self.num_words = num_words
        self.user = user
        self.snapshot: Words | None = np.zeros(num_words, np.uint64) if user is None else None

    @property
    def is_clean(self) -> bool:
        """Whether nothing in the whole log is dirty, known without looking at a word."""
        return not self._log.count

    def masked(self, start: int = 0, count: int | None = None) -> WordMask:
        """Give the bits that are dirty and asked for, in `count` words from a word of the window."""
        end = self.num_words if count is None else min(start + count, self.num_words)
        live = self._log.words[self.first_word + start : self.first_word + end]
        asked = live.copy() if self.user is None else live & self.user[start:end]
        return mask_words(asked, self.first_word + start)

    def take(self, pages: WordMask, count: int) -> None:
        """Move bits, `count` in all, out of the log; a get ORs them into its snapshot.

        OR, not assign: the words that the hook put back are in the snapshot already, and the bits
        that it cleaned must stay there (domain.md C.5 f).
        """
        self._log.take(pages, count)
        if self.snapshot is not None:
            at = pages.at
            here = (
                slice(at.start - self.first_word, at.stop - self.first_word)
                if isinstance(at, slice)
                else at - self.first_word
            )
            self.snapshot[here] |= pages.bits

    def put_back(self, pages: WordMask) -> None:
        """Return bits to the log; a snapshot keeps them."""
        self._log.mark(pages)

    def still_dirty(self, pages: WordMask) -> Words:
        """Give the live words at some places of the log: uint64[k]."""
        return self._log.words[pages.at]
