"""Bitmaps and batches of pages on the wire: base64, octets, ranges. All vectorised.

Words are little-endian unsigned 64-bit, the KVM ABI's order; bit 0 of word 0 is the first page.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.errors import InvalidArgumentError, KvmError
from hacdbs_sim.model.page_checks import words_of
from hacdbs_sim.model.pages import PageRanges, pages_of
from hacdbs_sim.model.words import words_for

Words = NDArray[np.uint64]

MAX_RANGES: Final = 65_536
"""The most ranges that one answer carries."""

TEXT_PIECE: Final = 1 << 18
OCTETS_PIECE: Final = TEXT_PIECE // 4 * 3
"""base64 goes piece by piece: each is one call into C that holds the interpreter."""

BYTES_PER_WORD: Final = 8
_FEW_WORDS: Final = 64
_FEW_PAGES: Final = 32
"""Ranges of so few pages are found one by one: 3 us for two of them, 25 by arrays."""

_ONE: Final = np.uint64(1)
_TOP: Final = np.uint64(63)


class TooManyRangesError(KvmError):
    """The log has more ranges of dirty pages than an answer of format `ranges` carries."""


class BatchAnswerLimitError(KvmError):
    """The answers of a batch grew too large; the actions before this one stay done."""

    title = "The batch's answer is too large"


def words_from_octets(octets: bytes | memoryview, field: str) -> Words:
    """Read little-endian 64-bit words, which must be whole."""
    if len(octets) % BYTES_PER_WORD:
        raise InvalidArgumentError.must(
            field, f"be a multiple of {BYTES_PER_WORD} bytes", len(octets), bound=BYTES_PER_WORD
        )
    return np.frombuffer(octets, dtype="<u8").astype(np.uint64, copy=False)


def octets_from_words(words: Words) -> memoryview:
    """View words as octets, little-endian and 64-bit: no copy where they are so already."""
    return words.astype("<u8", order="C", copy=False).view(np.uint8).data


def octets_from_base64(text: str | bytes) -> bytes:
    """Read a base64 text and nothing else (binascii.Error if it is none)."""
    octets = binascii.a2b_base64(text, strict_mode=True)
    # Even so it takes a padding that fills nothing.
    if len(text) % 4 or len(octets) < len(text) // 4 * 3 - 2:
        raise binascii.Error("Excess padding")
    return octets


def words_from_base64(text: str, field: str) -> Words:
    """Read a base64 text of little-endian 64-bit words; the schema has checked the alphabet."""
    pieces = (text[at : at + TEXT_PIECE] for at in range(0, len(text), TEXT_PIECE))
    return words_from_octets(b"".join(map(octets_from_base64, pieces)), field)


def base64_from_words(words: Words) -> str:
    """Write a base64 text of little-endian 64-bit words."""
    return base64_octets(words).decode("ascii")


def base64_octets(words: Words) -> bytes:
    """Write a base64 text of little-endian 64-bit words, as bytes: to join them lets others run."""
    octets = octets_from_words(words)
    pieces = (octets[at : at + OCTETS_PIECE] for at in range(0, len(octets), OCTETS_PIECE))
    return b"".join(map(base64.b64encode, pieces))


def base64_length(num_words: int) -> int:
    """Return how long the base64 text of so many words is."""
    return -(-num_words * BYTES_PER_WORD // 3) * 4


def range_columns(ranges: Sequence[tuple[int, int]] | Words) -> tuple[Words, Words]:
    """Split [first, count] pairs into two arrays."""
    if len(ranges) == 1:  # a third of what it takes for several
        first, count = ranges[0]
        return np.array([first], np.uint64), np.array([count], np.uint64)
    table = np.asarray(ranges, dtype=np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])


def _starts(words: Words) -> Words:
    """Return the bits that are set while the bit below is not: each begins a range."""
    below = words << _ONE
    below[1:] |= words[:-1] >> _TOP
    return words & ~below


def _ends(words: Words) -> Words:
    """Return the bits that are set while the bit above is not: each ends a range."""
    above = words >> _ONE
    above[:-1] |= words[1:] << _TOP
    return words & ~above


def count_ranges(words: Words) -> int:
    """Count the ranges of neighbouring pages in a bitmap."""
    return int(np.bitwise_count(_starts(words)).sum())


def check_ranges(words: Words) -> None:
    """Refuse a bitmap of more ranges than an answer carries."""
    if (count := count_ranges(words)) > MAX_RANGES:
        raise TooManyRangesError(
            f"the log has {count} ranges, an answer carries {MAX_RANGES};"
            " ask for format=base64 or Accept: application/octet-stream",
            field="format",
            bound=MAX_RANGES,
            value=count,
        )


def range_table(words: Words) -> NDArray[np.int64] | list[tuple[int, int]]:
    """Return the ranges [first, count] of neighbouring pages in a bitmap: int64[k, 2], or a list."""
    if len(words) <= _FEW_WORDS:
        bits = int.from_bytes(octets_from_words(words), "little")
        if bits.bit_count() <= _FEW_PAGES:
            return _ranges_of_bits(bits)
    first = pages_of(_starts(words))
    last = pages_of(_ends(words))
    return np.stack((first, last - first + 1), axis=1)


def _ranges_of_bits(bits: int) -> list[tuple[int, int]]:
    ranges = []
    at = 0
    while bits:
        skipped = (bits & -bits).bit_length() - 1
        bits >>= skipped
        count = (~bits & (bits + 1)).bit_length() - 1
        bits >>= count
        ranges.append((at + skipped, count))
        at += skipped + count
    return ranges


def bitmap_from_ranges(ranges: PageRanges, num_pages: int) -> Words:
    """Return the bitmap of a log whose dirty pages these are (ValueError if a range leaves it)."""
    if len(ranges) and ranges.span()[1] > num_pages:
        raise ValueError(f"a range ends beyond the log's {num_pages} pages")
    return words_of(ranges, words_for(num_pages))
