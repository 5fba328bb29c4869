"""Page versions: which write last touched a page, so that a copy of memory can be proved.

Every batch of writes that a machine makes has a number, and leaves it on the pages that it wrote.
They follow the memory, not stage 2: a move keeps them, a delete loses them.
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.pages import Gfns, PageRanges, PageSet
from hacdbs_sim.sim.kvm.memslots import Memslots

Versions: TypeAlias = NDArray[np.uint32]

BYTES_A_PAGE: Final = 4
FEW_RANGES: Final = 64
"""Up to so many ranges are stamped one by one."""


class PageVersions:
    """The versions of all pages of a machine.

    A page that has not been written since the start has version `since`, as if all of them had been
    written just before: a comparison with versions of an earlier time finds that nothing is known of
    the time between.

    Args:
        slots: The slots that there are.
        is_complete: Whether nothing has been written to them before.
        since: The number of writes to begin with.
    """

    def __init__(self, slots: Memslots, *, is_complete: bool = False, since: int = 0) -> None:
        self._by_slot: dict[int, Versions] = {}
        self._since = self._writes = since
        self._incomplete: frozenset[int] = frozenset()
        self._is_complete = is_complete
        self.follow(slots)
        if since and not is_complete:
            for versions in self._by_slot.values():
                versions[:] = self.last

    def is_complete(self, slot: int) -> bool:
        """Whether all writes to a slot are counted: a page of version 0 has never been written."""
        return slot not in self._incomplete

    @property
    def last(self) -> int:
        """The last batch's number: no page has a greater version."""
        return self._writes & 0xFFFFFFFF

    def follow(self, slots: Memslots) -> None:
        """Begin with the slots that are new, forget those that have gone.

        A slot that goes leaves its memory, which a new one may be backed by: from then on no page of a
        new slot is known to be unwritten.
        """
        regions = {slot.region.slot: slot.region.npages for slot in slots.by_id()}
        is_written = self._writes != self._since
        if is_written and not self._by_slot.keys() <= regions.keys():
            self._is_complete = False
        new = frozenset() if self._is_complete else regions.keys() - self._by_slot.keys()
        self._incomplete = (self._incomplete & regions.keys()) | new
        self._by_slot = {
            slot: self._by_slot[slot] if slot in self._by_slot else np.zeros(npages, np.uint32)
            for slot, npages in regions.items()
        }

    def read(self, slot: int, first_page: int, num_pages: int | None) -> Versions:
        """Copy the versions of a slot's pages, or of a part of them."""
        end = None if num_pages is None else first_page + num_pages
        return self._by_slot[slot][first_page:end].copy()

    def stamp(self, slots: Memslots, pages: PageSet) -> None:
        """Number a batch of writes, and leave the number on its pages, where a slot takes them."""
        self._writes += 1
        if not len(pages):
            return
        version = np.uint32(self._writes % (1 << 32))
        for slot in slots.around(*pages.span()):
            if slot.region.is_readonly:
                continue
            versions = self._by_slot[slot.region.slot]
            if isinstance(pages, Gfns):
                inside = pages.moved_down(slot.region.base_gfn).gfns  # wraps below the slot
                versions[inside[inside < np.uint64(len(versions))]] = version
            else:
                _stamp_ranges(versions, pages, slot.region.base_gfn, version)


def _stamp_ranges(
    versions: Versions, ranges: PageRanges, base_gfn: int, version: np.uint32
) -> None:
    first = ranges.first.astype(np.int64) - base_gfn
    end = np.clip(first + ranges.count.astype(np.int64), 0, len(versions))
    first = np.clip(first, 0, len(versions))
    if len(first) <= FEW_RANGES:
        for start, stop in zip(first.tolist(), end.tolist(), strict=True):
            versions[start:stop] = version
        return
    # Ranges may overlap: a page is in one where more have begun than ended.
    steps = np.zeros(len(versions) + 1, np.int32)
    np.add.at(steps, first, 1)
    np.add.at(steps, end, -1)
    versions[np.cumsum(steps[:-1]) > 0] = version
