"""Bitmaps as 64-bit words: one bit a page, bit 0 of word 0 the first page.

All functions are vectorised over words. Sparse work is a `WordMask`: some words of a plane and the
bits meant in each, so that a few pages in a large slot cost a few words, a dense range costs a
slice of the plane, and pages of one word cost scalars.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.pages import Gfns, PageSet, words_of

Words = NDArray[np.uint64]

WORD_BITS: Final = 64
ALL_ONES: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
ZERO: Final = np.uint64(0)
ONE: Final = np.uint64(1)

_BYTE_SCATTER_PAGES: Final = 64
"""Up to this many pages of span per gfn, one byte a page beats sorting the gfns (measured: 62,500
random gfns in 2 Mi pages 0.5 ms against 3.2 ms, one million in 32 Mi pages 24 ms against 35 ms)."""

_DENSE_SHARE: Final = 8
"""Above one bit in so many words set, a slice of the plane beats gathering the words."""

TILE_WORDS: Final = 1 << 15
"""Words worked on in one go: 256 KiB of each plane, so that a tile's planes share an L2 cache, and
nothing beside the planes is of their size. A clear of 128 GiB takes 1.4 ms so, and 3.5 at once."""

_SMALL_BYTES: Final = 1 << 16
"""A plane up to this size is dropped to clear it, and its memory used by the next one that is made: to zero
32 KiB that are in no cache takes 5 us, and drives out what the call needs next. The system frees a
large one, and maps it again by faults."""

_UNSET: Final = np.ndarray(1 << 40, np.uint64, bytes(8), strides=(0,))
"""As many words as any slot has, all of them the same eight octets."""


def words_for(npages: int) -> int:
    """Return how many words hold `npages` bits: ALIGN(npages, 64) / 64."""
    return -(-npages // WORD_BITS)


def unset_words(count: int) -> Words:
    """Return a plane of zeros that takes no memory: read-only, all its words are one and the same.

    It stands for a plane until the first bit is set, so that an idle slot costs nothing. Each is an array of
    its own: a machine that is copied must not get one plane for two.
    """
    return _UNSET[:count]


def own_words(plane: Words) -> Words:
    """Return a plane that can be written: itself, or zeros where it is `unset_words`."""
    return plane if plane.flags.writeable else np.zeros(len(plane), np.uint64)


def clear_words(plane: Words) -> Words:
    """Clear a plane: return it zeroed, or `unset_words` where it is small."""
    if plane.nbytes <= _SMALL_BYTES:
        return unset_words(len(plane))
    plane.fill(0)
    return plane


class WordMask(NamedTuple):
    """Bits in some words of a plane.

    `of(plane)`, and `&`, `|`, `^`, `~` of it with `bits`, read the same for all three kinds of `at`.
    A tuple, as are the other values that a small call makes many of: a frozen dataclass takes four
    times as long to make, 0.8 us with seven fields.
    """

    at: slice | NDArray[np.intp] | int
    """Which words: a slice with step 1; intp[k] ascending without repeats; or one word's index,
    which makes `bits` an int. Numbers take a tenth of the time of arrays of one element: a guest
    write of one page 4 us instead of 37."""
    bits: Words
    """uint64[k], the bits meant in each."""

    def of(self, plane: Words) -> Words:
        """Return the plane's words: a view where `at` is a slice, a number where it is one."""
        if isinstance(self.at, int):
            number: Any = plane.item(self.at)
            return number  # type: ignore[no-any-return]
        return plane[self.at]

    def spread(self) -> "WordMask":
        """Mean the same with arrays, also where it is one word."""
        if isinstance(self.at, int):
            return WordMask(slice(self.at, self.at + 1), np.array([self.bits], np.uint64))
        return self

    def tiles(self) -> Iterable["WordMask"]:
        """Cut the mask into tiles, ascending."""
        if isinstance(self.at, int) or len(self.bits) <= TILE_WORDS:
            return (self,)
        return (
            self._part(start, start + TILE_WORDS) for start in range(0, len(self.bits), TILE_WORDS)
        )

    def indices(self) -> NDArray[np.intp]:
        """Return the words' indices: intp[k], ascending."""
        if isinstance(self.at, slice):
            return np.arange(self.at.start, self.at.stop, dtype=np.intp)
        return np.atleast_1d(self.at)

    def word_at(self, position: int) -> int:
        """Return one word's index; of the only word where it is one."""
        if isinstance(self.at, int):
            return self.at
        return int(self.at.start + position if isinstance(self.at, slice) else self.at[position])

    def find(self, page: int) -> tuple[int, int] | None:
        """Find a page that is meant: its word's position in `bits`, and its bit; else None."""
        word, bit = divmod(page, WORD_BITS)
        if isinstance(self.at, slice):
            position = word - int(self.at.start)
            known = 0 <= position < len(self.bits)
        else:
            assert not isinstance(self.at, int), "only tiles are searched"
            position = int(np.searchsorted(self.at, word))
            known = position < len(self.at) and int(self.at[position]) == word
        if known and int(self.bits[position]) >> bit & 1:
            return position, bit
        return None

    def head(self, count: int) -> "WordMask":
        """Keep the first `count` words."""
        return self._part(0, count)

    def _part(self, start: int, end: int) -> "WordMask":
        bits = self.bits[start:end]
        if isinstance(self.at, slice):
            return WordMask(slice(self.at.start + start, self.at.start + start + len(bits)), bits)
        assert not isinstance(self.at, int), "one word has no parts"
        return WordMask(self.at[start:end], bits)

    def with_bits(self, bits: Words) -> "WordMask":
        """Mean other bits of the same words."""
        return WordMask(self.at, bits)


def sum_counts(counts: NDArray[np.uint8]) -> int:
    """Add up the set bits of words: below 2**32, as a slot has fewer pages."""
    # In 32 bits it takes half the time that it takes in 64: 3.4 us a tile against 5.9.
    return int(np.add.reduce(counts, dtype=np.uint32))


def popcount(words: Words) -> int:
    """Count the set bits of all words."""
    if isinstance(words, int):  # of a mask of one word
        return words.bit_count()
    return sum_counts(np.bitwise_count(words))


def set_bits(plane: Words, pages: WordMask) -> None:
    """Set bits of a plane, in place."""
    if isinstance(pages.at, int):
        plane[pages.at] = plane.item(pages.at) | pages.bits
        return
    words = plane[pages.at]
    words |= pages.bits
    if not isinstance(pages.at, slice):  # else `words` is the plane itself
        plane[pages.at] = words


def drop_bits(plane: Words, pages: WordMask) -> None:
    """Clear bits of a plane: in place, as `&= ~bits` would make an array of its own."""
    left = pages.of(plane)
    left |= pages.bits
    left ^= pages.bits
    if not isinstance(pages.at, slice):
        plane[pages.at] = left


def keep_bits(plane: Words, pages: WordMask) -> None:
    """Clear the other bits of a plane's words, in place."""
    left = pages.of(plane)
    left &= pages.bits
    if not isinstance(pages.at, slice):
        plane[pages.at] = left


def fill_first(words: Words, npages: int) -> None:
    """Set exactly the first `npages` bits; the tail of the last word stays as it is."""
    whole, tail = divmod(npages, WORD_BITS)
    words[:whole] = ALL_ONES
    if tail:
        words[whole] |= np.uint64((1 << tail) - 1)


def every_page(npages: int) -> Words:
    """Return new words in which exactly the first `npages` bits are set."""
    words = np.zeros(words_for(npages), np.uint64)
    fill_first(words, npages)
    return words


class CountedMask(NamedTuple):
    """A mask of some words, with how many bits are set."""

    mask: WordMask
    """The words."""
    counts: NDArray[np.uint8]
    """uint8[k], in each of them."""
    total: int
    """In all of them."""


def counted(words: Words, start: int) -> CountedMask:
    """Make a mask of some words of a plane, of which `words[0]` is number `start`, and count their bits.

    Where few of them are set only those are kept, so that what follows costs what it touches.
    """
    counts = np.bitwise_count(words)
    total = sum_counts(counts)
    if total * _DENSE_SHARE >= len(words):
        return CountedMask(WordMask(slice(start, start + len(words)), words), counts, total)
    found = counts.nonzero()[0]
    return CountedMask(WordMask(found + start, words[found]), counts[found], total)


def below(bit: Words) -> Words:
    """Return, for words with one bit set, all the bits below it (all 64 where the word is 0)."""
    return bit - ONE


def lowest(words: Words) -> Words:
    """Isolate the lowest set bit of each word (0 stays 0)."""
    return words & (~words + ONE)


def spans(words: Words) -> Words:
    """Fill each word from its lowest to its highest set bit (0 stays 0)."""
    filled = words.copy()
    for shift in (1, 2, 4, 8, 16, 32):
        filled |= filled >> np.uint64(shift)
    return filled & ~below(lowest(words))


def word_of_rank(counts: NDArray[np.uint8], rank: int) -> tuple[int, int]:
    """Find the word that holds the set bit of a rank (from 0).

    Args:
        counts: uint8[k], set bits of each word; their sum exceeds `rank`.
        rank: How many set bits come before the one to find.

    Returns:
        The word's index, and the set bits in the words before it.
    """
    starts = np.arange(0, len(counts), TILE_WORDS)
    tiles = np.add.reduceat(counts, starts, dtype=np.int64).cumsum()
    tile = int(np.searchsorted(tiles, rank, side="right"))
    before = int(tiles[tile - 1]) if tile else 0
    first = tile * TILE_WORDS
    inside = counts[first : first + TILE_WORDS].cumsum(dtype=np.int64)
    word = int(np.searchsorted(inside, rank - before, side="right"))
    return first + word, before + (int(inside[word - 1]) if word else 0)


def first_bits(word: int, count: int) -> int:
    """Keep the lowest `count` set bits of one word (a Python int)."""
    if count >= word.bit_count():
        return word
    cut = positions_of_ranks(np.array([word], np.uint64), np.array([count]))
    return word & ((1 << int(cut[0])) - 1)


def positions_of_ranks(words: Words, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the bit positions of the set bits of given ranks.

    Args:
        words: uint64[k].
        ranks: int64[m], ascending, each below the number of set bits.

    Returns:
        int64[m], positions counted from bit 0 of word 0.
    """
    ends = np.bitwise_count(words).cumsum(dtype=np.int64)
    word = np.searchsorted(ends, ranks, side="right")
    counts = np.bitwise_count(words[word]).astype(np.int64)
    left = (ranks - (ends[word] - counts)).astype(np.uint8)
    rest = words[word]
    position = np.zeros(len(ranks), np.int64)
    for width in (32, 16, 8, 4, 2, 1):  # a binary search inside each word
        low = np.bitwise_count(rest & np.uint64((1 << width) - 1))
        upper = left >= low
        left = np.where(upper, left - low, left)
        rest = np.where(upper, rest >> np.uint64(width), rest)
        position += np.where(upper, width, 0)
    return word * WORD_BITS + position


def mask_of(pages: PageSet) -> WordMask:
    """Turn pages (of a plane, each below 2**62) into words and bits; repeats and overlaps merge."""
    if (span := pages.one_range()) is not None:
        return _mask_of_range(*span)
    if isinstance(pages, Gfns):
        return mask_of_pages(pages.gfns)
    first = pages.first.astype(np.int64)
    return mask_of_ranges(*_merged(first, first + pages.count.astype(np.int64)))


def tiles_of(pages: PageSet) -> Iterable[WordMask]:
    """Turn pages into words and bits as `mask_of` does, tile by tile, ascending."""
    if (span := pages.one_range()) is not None:
        return tiles_of_range(*span)
    return mask_of(pages).tiles()


def tiles_of_range(first: int, end: int) -> Iterable[WordMask]:
    """Turn one range [first, end), not empty, into words and bits, tile by tile, ascending."""
    if end - first == 1:
        return (mask_of_page(first),)
    tile_pages = TILE_WORDS * WORD_BITS
    start = first - first % tile_pages
    if end <= start + tile_pages:  # 0.4 us less than a generator for one
        return (_mask_of_range(first, end),)
    return (
        _mask_of_range(max(first, tile), min(end, tile + tile_pages))
        for tile in range(start, end, tile_pages)
    )


def mask_of_page(page: int) -> WordMask:
    """Turn one page into a word and its bit."""
    bit: Any = 1 << page % WORD_BITS
    return WordMask(page // WORD_BITS, bit)


def _mask_of_range(first: int, end: int) -> WordMask:
    """Turn one range [first, end) into words and bits, without what it takes to join many."""
    word, bit = divmod(first, WORD_BITS)
    end_word = words_for(end)
    if end_word - word == 1:
        number: Any = (1 << end - first) - 1 << bit
        return WordMask(word, number)
    bits = np.full(end_word - word, ALL_ONES)
    bits[0] <<= np.uint64(bit)
    bits[-1] >>= np.uint64(-end % WORD_BITS)
    return WordMask(slice(word, end_word), bits)


def mask_of_pages(pages: Words) -> WordMask:
    """Turn single pages, uint64[k] in any order, into words and bits."""
    if not len(pages):
        return WordMask(slice(0, 0), np.empty(0, np.uint64))
    low = int(pages.min()) // WORD_BITS
    high = int(pages.max()) // WORD_BITS
    span = (high - low + 1) * WORD_BITS
    if span <= len(pages) * _BYTE_SCATTER_PAGES:
        flags = np.zeros(span, np.bool_)
        flags[pages - np.uint64(low * WORD_BITS)] = True
        return WordMask(slice(low, high + 1), words_of(flags))
    ordered = np.sort(pages)
    word = (ordered >> np.uint64(6)).astype(np.intp)
    bits = ONE << (ordered & np.uint64(63))
    return _merged_words(word, bits)


def mask_of_ranges(first: NDArray[np.int64], end: NDArray[np.int64]) -> WordMask:
    """Turn ranges [first, end), ascending and disjoint, int64[k] each, into words and bits."""
    if not len(first):
        return WordMask(slice(0, 0), np.empty(0, np.uint64))
    word = first // WORD_BITS
    last = (end - 1) // WORD_BITS
    lengths = last - word + 1
    starts = lengths.cumsum() - lengths
    # One step from word to word, and a leap to each range's first; np.repeat would keep the interpreter
    steps = np.ones(int(lengths.sum()), np.int64)
    steps[starts] = word - np.concatenate(([0], last[:-1]))
    indices = np.cumsum(steps)
    bits = np.full(len(indices), ALL_ONES)
    head = (first % WORD_BITS).astype(np.uint64)
    tail = ((WORD_BITS - end % WORD_BITS) % WORD_BITS).astype(np.uint64)
    bits[starts] &= ALL_ONES << head
    bits[starts + lengths - 1] &= ALL_ONES >> tail
    return _merged_words(indices.astype(np.intp), bits)


def _merged(
    first: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort ranges and join those that overlap or touch."""
    if len(first) < 2:
        return first, end
    order = np.argsort(first, kind="stable")
    first = first[order]
    reach = np.maximum.accumulate(end[order])
    opens = np.flatnonzero(np.concatenate(([True], first[1:] > reach[:-1])))
    closes = np.concatenate((opens[1:] - 1, [len(first) - 1]))
    return first[opens], reach[closes]


def _merged_words(word: NDArray[np.intp], bits: Words) -> WordMask:
    """OR together the bits of equal words; `word` ascends."""
    opens = np.flatnonzero(np.concatenate(([True], word[1:] != word[:-1])))
    if len(opens) < len(word):
        bits = np.bitwise_or.reduceat(bits, opens)
        word = word[opens]
    low, high = int(word[0]), int(word[-1])
    if high - low + 1 == len(word):
        return WordMask(slice(low, high + 1), bits)
    return WordMask(word, bits)
