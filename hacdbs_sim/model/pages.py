"""Sets of pages, as callers name them: single frames, ranges, or the ioctl's own bitmap."""

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from hacdbs_sim.model.kinds import ArrayForm


@dataclass(frozen=True, slots=True, eq=False)
class Gfns:
    """Single guest frames: uint64[k], any order, repeats allowed."""

    gfns: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.gfns)

    def one_range(self) -> tuple[int, int] | None:
        """Return [first, end) where the batch is one frame; None where it is none or several."""
        if len(self.gfns) != 1:
            return None
        first: int = self.gfns.item(0)
        return first, first + 1

    def span(self) -> tuple[int, int]:
        """Return where the batch, not empty, begins and ends."""
        return int(self.gfns.min()), int(self.gfns.max()) + 1

    def moved_down(self, by: int) -> "Gfns":
        """Count the frames from another one."""
        return Gfns(self.gfns - np.uint64(by))


@dataclass(frozen=True, slots=True, eq=False)
class PageRanges:
    """Ranges of pages: first and count, uint64[k] each, any order, overlaps allowed, count >= 1.

    Of guest frames in an access; of pages counted from the slot's start in a clear.
    """

    first: NDArray[np.uint64]
    count: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.first)

    def one_range(self) -> tuple[int, int] | None:
        """Return [first, end) where the batch is one range; None where it is none or several."""
        if len(self.first) != 1:
            return None
        first: int = self.first.item(0)
        return first, first + int(self.count.item(0))

    def span(self) -> tuple[int, int]:
        """Return where the batch, not empty, begins and ends."""
        return int(self.first.min()), int((self.first + self.count).max())

    def moved_down(self, by: int) -> "PageRanges":
        """Count the frames from another one."""
        return PageRanges(self.first - np.uint64(by), self.count)


PageSet: TypeAlias = Gfns | PageRanges


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bitmap:
    """A dirty bitmap: uint64 words, bit 0 of word 0 is the window's first page."""

    words: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.words)

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bitmap):
            return NotImplemented
        return np.array_equal(self.words, other.words)

    @override
    def __hash__(self) -> int:
        return hash(self.words.tobytes())

    @override
    def __repr__(self) -> str:
        pages = int(np.bitwise_count(self.words).sum())
        return f"Bitmap({len(self.words)} words, {pages} pages set)"


def flags_of(words: NDArray[np.uint64], count: int | None = None) -> NDArray[np.bool_]:
    """Return the first `count` bits of words, one boolean each; None: all of them."""
    octets = words.astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(octets, count=count, bitorder="little").view(np.bool_)


def words_of(flags: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Return one bit per boolean, uint64 words; the tail of the last word is 0."""
    octets = np.packbits(flags, bitorder="little")
    words = np.zeros(-(-len(flags) // 64), "<u8")
    words.view(np.uint8)[: len(octets)] = octets
    return words.astype(np.uint64, copy=False)


def pages_of(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the pages whose bit is set, ascending: int64[k]; zero words cost almost nothing."""
    at = np.flatnonzero(words)
    word, bit = np.nonzero(flags_of(words[at]).reshape(-1, 64))
    return at[word] * 64 + bit


@dataclass(frozen=True, slots=True)
class PageForm:
    """How a set of pages is written: flat, as one of several fields of its owner."""

    fields: tuple[str, ...]
    """The fields, of which a request has exactly one."""


FramePages = Annotated[Gfns | PageRanges, PageForm(("gfns", "gfn_ranges"))]
"""Guest frames, one by one or as ranges [first, count]; order is free, repeats count."""

LogPages = Annotated[Bitmap | PageRanges, PageForm(("page_ranges", "bitmap", "words"))]
"""Pages to clear: ranges counted from the slot's start, or the bitmap of a window."""

LogBitmap = Annotated[Bitmap | None, PageForm(("page_ranges", "bitmap", "words"))]
"""The pages of a log, in the requested format."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Intervals:
    """Which pages are written in each interval of a trace; a list of lists of pages on the wire."""

    starts: NDArray[np.int64]
    """int64[n + 1], interval i is pages[starts[i]:starts[i + 1]]."""
    pages: NDArray[np.uint32]
    """uint32[records]."""

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Intervals):
            return NotImplemented
        return np.array_equal(self.starts, other.starts) and np.array_equal(self.pages, other.pages)

    @override
    def __hash__(self) -> int:
        return hash(self.pages.tobytes())

    @override
    def __repr__(self) -> str:
        return f"Intervals({len(self.starts) - 1} intervals, {len(self.pages)} records)"


def equal_arrays(one: Any, other: Any) -> bool:  # noqa: ANN401 - arrays, or None
    """Compare two arrays, or two absent ones."""
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


@dataclass(frozen=True, slots=True)
class IntervalForm(ArrayForm):
    """How the pages of intervals are written: a list of lists of page numbers."""

    max_intervals: int = 65_536
    """The most intervals."""
    max_page: int = (1 << 31) - 2
    """The greatest page number."""


IntervalPages = Annotated[Intervals, IntervalForm()]


@dataclass(frozen=True, slots=True)
class CountsForm(ArrayForm):
    """How an array of counts is written: a list of integers."""

    dtype: str = "int64"
    """The array's type."""
