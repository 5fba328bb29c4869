"""Batches of pages, as callers name them: single frames, or ranges of frames."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Gfns:
    """Single guest frames: uint64[k], any order, repeats allowed."""

    gfns: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.gfns)

    def one_range(self) -> tuple[int, int] | None:
        """Give [first, end) where the batch is one frame; None where it is none or several."""
        if len(self.gfns) != 1:
            return None
        first: int = self.gfns.item(0)
        return first, first + 1

    def span(self) -> tuple[int, int]:
        """Give where the batch, not empty, begins and ends."""
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
        """Give [first, end) where the batch is one range; None where it is none or several."""
        if len(self.first) != 1:
            return None
        first: int = self.first.item(0)
        return first, first + int(self.count.item(0))

    def span(self) -> tuple[int, int]:
        """Give where the batch, not empty, begins and ends."""
        return int(self.first.min()), int((self.first + self.count).max())

    def moved_down(self, by: int) -> "PageRanges":
        """Count the frames from another one."""
        return PageRanges(self.first - np.uint64(by), self.count)


PageSet: TypeAlias = Gfns | PageRanges
