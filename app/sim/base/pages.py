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

    def moved_down(self, by: int) -> "PageRanges":
        """Count the frames from another one."""
        return PageRanges(self.first - np.uint64(by), self.count)


PageSet: TypeAlias = Gfns | PageRanges
