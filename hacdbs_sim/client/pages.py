"""Pages as they are sent: gfns and the ioctl's bitmaps as octets, both little-endian."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from hacdbs_sim.model.pages import pages_of
from hacdbs_sim.wire.codec import octets_from_words, words_from_octets

__tracebackhide__ = True

Words: TypeAlias = NDArray[np.uint64]
"""The ioctl's bitmap: 64-bit words, bit 0 of the first word is the first page."""

PageMask: TypeAlias = NDArray[np.bool_]
"""One boolean per page."""

PageNumbers: TypeAlias = Iterable[int] | NDArray[np.integer[Any]]

Ranges: TypeAlias = list[tuple[int, int]]
"""Pairs of a first page and a count."""

WORD_PAGES: Final = 64


def page_numbers(numbers: PageNumbers, name: str) -> Words:
    """Return page numbers as an array; reject other values."""
    if not isinstance(numbers, Iterable):
        is_one = isinstance(numbers, int | np.integer)
        found = f"an int; for one page write [{numbers:#x}]" if is_one else repr(numbers)
        raise TypeError(f"{name} must be a list, an array or a range, not {found}")
    array = numbers if isinstance(numbers, np.ndarray) else _array_of(list(numbers), name)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one dimension, not {array.ndim}")
    if array.size and array.dtype.kind not in "iu":
        found = "strings" if array.dtype.kind == "U" else array.dtype
        raise TypeError(f"{name} must be integers, not {found}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must not be negative, as {array.min()} is")
    return array.astype(np.uint64, copy=False)


def _array_of(numbers: list[int], name: str) -> NDArray[Any]:
    array = np.array(numbers)
    # numpy returns floats or objects for integers that none of its integer types holds
    if array.dtype.kind not in "fO" or not all(type(number) is int for number in numbers):
        return array
    if numbers and (min(numbers) < 0 or max(numbers) >> 64):
        raise ValueError(f"{name} must be of 64 bits, not {min(numbers)}..{max(numbers)}")
    return np.array(numbers, dtype=np.uint64)


def octets_of(words: Words) -> bytes:
    """Return words as octets."""
    return bytes(octets_from_words(words))


def bitmap_of(mask: PageMask) -> Words:
    """Return one boolean per page as a bitmap of whole words."""
    octets = np.packbits(mask, bitorder="little").tobytes()
    return words_from_octets(octets + bytes(-len(octets) % 8), "bitmap")


def ranges_of(numbers: Words) -> Ranges:
    """Return page numbers, in any order and repeated or not, as ranges."""
    pages = np.unique(numbers)
    if not pages.size:
        return []
    starts = np.concatenate([[0], np.flatnonzero(np.diff(pages) != 1) + 1])
    counts = np.diff(starts, append=pages.size)
    return list(zip(pages[starts].tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LogWindow:
    """Pages of a window of a dirty log; compares by value.

    Attributes:
        first_page: Where the window begins, in pages of the slot.
        num_pages: Its length.
        bitmap: Its pages; bit 0 is `first_page`.
    """

    first_page: int
    num_pages: int
    bitmap: Words

    @classmethod
    def holding(cls, pages: Words, first_page: int, num_pages: int) -> "LogWindow":
        """Make the window that holds some pages of a slot."""
        if pages.size and not first_page <= pages.min() <= pages.max() < first_page + num_pages:
            raise ValueError(
                f"pages must lie in {first_page}..{first_page + num_pages - 1},"
                f" not in {pages.min()}..{pages.max()}"
            )
        mask = np.zeros(num_pages, dtype=np.bool_)
        mask[pages - np.uint64(first_page)] = True
        return cls(first_page, num_pages, bitmap_of(mask))

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LogWindow):
            return NotImplemented
        places = (self.first_page, self.num_pages) == (other.first_page, other.num_pages)
        return places and np.array_equal(self.bitmap, other.bitmap)

    __hash__ = None  # type: ignore[assignment]

    @override
    def __repr__(self) -> str:
        return f"LogWindow(first_page={self.first_page}, num_pages={self.num_pages})"

    def pages(self) -> NDArray[np.int64]:
        """Return the pages, counted from the slot's start, ascending."""
        return pages_of(self.bitmap) + self.first_page
