"""The guest of the selftest and its memory: it writes the iteration's number to random pages.

The service keeps no page contents, so the harness does: one number a page. A write changes the memory
and then reports it to the service, as a store is in memory before the fault that it took is over.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Guest:
    """A guest that has a slot's pages to write to.

    Attributes:
        npages: Pages of the slot.
        random: Where it writes.
        values: uint64[npages], what each page holds; 0 before its first write.
        written: Writes so far.
    """

    npages: int
    random: np.random.Generator
    values: NDArray[np.uint64] = field(init=False)
    written: int = 0

    def __post_init__(self) -> None:
        self.values = np.zeros(self.npages, np.uint64)

    def burst(self, iteration: int, writes: int) -> NDArray[np.uint64]:
        """Write the iteration's number to random pages; return those pages, repeats too."""
        pages = self.random.integers(0, self.npages, writes, np.uint64)
        self.values[pages] = iteration
        self.written += writes
        return pages
