"""The dirty bitmap of one memslot (kvm_memory_slot.dirty_bitmap), with a running count."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from hacdbs_sim.model import words
from hacdbs_sim.model.words import (
    CountedMask,
    WordMask,
    Words,
    clear_words,
    counted,
    fill_first,
    own_words,
    popcount,
    set_bits,
    unset_words,
    words_for,
)


class DirtyBitmap:
    """One bit a page of the slot; bits past the last page stay 0.

    Attributes:
        words: uint64[ALIGN(npages, 64) / 64], bit 0 of word 0 is the slot's first page; shared
            zeros (`unset_words`) until the first bit is set.
        count: Set bits, kept up to date so that no call sweeps the plane for it.
    """

    __slots__ = ("count", "npages", "words")

    def __init__(self, npages: int, *, initially_set: bool) -> None:
        self.npages = npages
        self.words: Words = unset_words(words_for(npages))
        self.count = 0
        if initially_set:
            self.words = own_words(self.words)
            fill_first(self.words, npages)
            self.count = npages

    def mark(self, pages: WordMask) -> int:
        """Set bits; return how many were 0 (mark_page_dirty_in_slot)."""
        if isinstance(pages.at, int):
            return self._mark_word(pages.at, pages.bits)
        new = popcount(pages.bits & ~pages.of(self.words))
        if new:
            if not self.count:
                self.words = own_words(self.words)
            set_bits(self.words, pages)
            self.count += new
        return new

    def _mark_word(self, at: int, bits: Any) -> int:  # noqa: ANN401 - a number here
        """Set bits of one word: the same in numbers, half a us less."""
        word = self.words.item(at)
        new: int = (bits & ~word).bit_count()
        if new:
            if not self.count:
                self.words = own_words(self.words)
            self.words[at] = word | bits
            self.count += new
        return new

    def take(self, pages: WordMask, count: int) -> None:
        """Clear bits, all of which are set, `count` in all."""
        self.words[pages.at] ^= pages.bits
        self.count -= count

    def hand_over(self) -> Words:
        """Return the log's own words and start over with none set."""
        given, self.words, self.count = self.words, unset_words(len(self.words)), 0
        return given

    def clear(self) -> None:
        """Clear every bit of a log that has some."""
        self.words = clear_words(self.words)
        self.count = 0


class LogWindow:
    """The words of a bitmap that one get or clear covers, and the bits that it requests.

    Attributes:
        first_word: Where the window starts in the bitmap.
        num_words: How many words it has.
        user: uint64[k], the user's bits of a clear; None where all are requested.
    """

    __slots__ = ("_begin", "_is_get", "_log", "_snapshot", "first_word", "num_words", "user")

    def __init__(
        self,
        log: DirtyBitmap,
        first_word: int,
        num_words: int,
        *,
        user: Words | None,
        is_get: bool,
    ) -> None:
        self._log = log
        self.first_word = first_word
        self.num_words = num_words
        self.user = user
        self._is_get = is_get
        self._snapshot: Words | None = None
        self._begin = 0

    @property
    def snapshot(self) -> Words:
        """What a get copies to userspace: uint64[k]; zeros until something is taken."""
        return unset_words(self.num_words) if self._snapshot is None else self._snapshot

    @property
    def is_whole(self) -> bool:
        """Whether every page of the log is requested, so that its count is T."""
        return self.user is None and self.num_words == len(self._log.words)

    @property
    def is_clean(self) -> bool:
        """Whether nothing in the whole log is dirty, without a pass over its words."""
        return not self._log.count

    def masked(self, *, at_once: bool = False) -> Iterator[CountedMask]:
        """Yield the bits that are dirty and requested, tile by tile; tiles without any are left out.

        The caller may take what it was given from the log, and put it back. `at_once` is one tile.
        """
        tile_words = self.num_words if at_once else words.TILE_WORDS
        for start in range(self._begin, self.num_words, tile_words or 1):
            if self.is_clean:
                return  # all that was dirty has been taken
            end = min(start + tile_words, self.num_words)
            live = self._log.words[self.first_word + start : self.first_word + end]
            requested = live.copy() if self.user is None else live & self.user[start:end]
            masked = counted(requested, self.first_word + start)
            if masked.total:
                yield masked

    def begin_at(self, word: int) -> None:
        """Begin the next walk at a word of the log: nothing that is requested is left before it.

        Software cleaning need not read again what the hook has cleaned: 0.3 ms of 2.5 where the
        hook stops in the middle of 128 GiB.
        """
        self._begin = word - self.first_word

    def take(self, pages: WordMask, count: int) -> None:
        """Move bits, `count` in all, out of the log; a get ORs them into its snapshot.

        OR, not assign: the words that the hook put back are in the snapshot already, and the bits
        that it cleaned must stay there (docs/kernel.md C.5 f).
        """
        self._log.take(pages, count)
        if self._is_get:  # of the whole log, so the snapshot has the log's indices
            if self._snapshot is None:
                self._snapshot = np.zeros(self.num_words, np.uint64)
            set_bits(self._snapshot, pages)

    def take_all(self) -> int:
        """Move all bits of a window that is whole out of the log; return how many there were.

        A get keeps the log's own words: to copy and clear them would be two passes over them.
        """
        count = self._log.count
        if self._is_get:
            self._snapshot = self._log.hand_over()
        else:
            self._log.clear()
        return count

    def put_back(self, pages: WordMask) -> None:
        """Return bits to the log; a snapshot keeps them."""
        self._log.mark(pages)

    def still_dirty(self, pages: WordMask) -> WordMask:
        """Return the bits that are set in the same words of the log."""
        return pages.with_bits(self._log.words[pages.at])
