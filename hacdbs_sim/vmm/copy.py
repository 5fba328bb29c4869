"""A copy of memory, as far as a proof needs it: as of which write each page was read.

A page of a copy is *current* if the source's page has not been written since it was read. A stale page is
*pending* if it is known that it has to be sent, *unneeded* if the guest gave it up and has not written
it since, and *lost* otherwise.
"""

import copy
from typing import Final

import numpy as np

from hacdbs_sim.model import LostPages, MemslotLife, Verification
from hacdbs_sim.model.pages import flags_of, pages_of, words_of
from hacdbs_sim.model.words import WORD_BITS, Words
from hacdbs_sim.vmm.versions import Versions

MAX_LOST_RANGES: Final = 256
"""The most ranges that are listed of one slot."""

MAX_ALL_LOST_RANGES: Final = 4_096
"""The most of all slots together: reports are kept."""

MAX_LISTED_SLOTS: Final = 256
_DENSE_SHARE: Final = 4
"""With pages in more than one word in so many, a pass over all words beats picking them."""

_LACKING: Final = np.uint32(0)


class SlotCopy:
    """What a copy has of one slot.

    A page that is read while the last write has number n has all writes up to n. It is stale once a
    later one has touched it, and until it is read.

    Args:
        life: Which slot it is a copy of; one that is deleted and made again is another.
        last_version: The last write that the copy has from the start; None: it has nothing.
    """

    def __init__(self, life: MemslotLife, last_version: int | None = None) -> None:
        self.life = life
        # The first write that each page lacks; 0 where the page has never been read
        self._lacks = np.full(
            life.npages, _LACKING if last_version is None else last_version + 1, np.uint32
        )

    def copy(self) -> "SlotCopy":
        """Return a copy that changes by itself."""
        return copy.deepcopy(self)

    def receive(self, first_page: int, sent: Words, last_version: int) -> None:
        """Receive pages of a window.

        Args:
            first_page: Where it begins, in pages of the slot; a multiple of 64.
            sent: uint64 words, which of its pages were read; bit 0 is `first_page`.
            last_version: The number of the last write when they were read.
        """
        self._mark(first_page, sent, np.uint32(last_version + 1))

    def forget(self, first_page: int, pages: Words) -> None:
        """Lack pages of a window until they are received; the arguments are those of `receive`."""
        self._mark(first_page, pages, _LACKING)

    def _mark(self, first_page: int, pages: Words, lacks: np.uint32) -> None:
        here = self._lacks[first_page : first_page + len(pages) * WORD_BITS]
        if np.count_nonzero(pages) * _DENSE_SHARE > len(pages):
            np.copyto(here, lacks, where=flags_of(pages, len(here)))
        else:
            here[pages_of(pages)] = lacks

    def stale(self, source: Versions) -> Words:
        """Return the pages that the copy does not have as they are, uint64 words."""
        return words_of(source >= self._lacks)

    def compare(
        self,
        source: Versions,
        pending: Words,
        unneeded: Words | None = None,
        max_ranges: int = MAX_LOST_RANGES,
    ) -> LostPages:
        """Compare the copy with the source, page by page.

        Args:
            source: uint32[npages], the source's versions.
            pending: uint64 words, pages of which it is known that they have to be sent.
            unneeded: uint64 words, pages that the guest gave up and has not written since.
            max_ranges: The most ranges to list.
        """
        npages = len(source)
        stale = source >= self._lacks
        stale_pages = int(np.count_nonzero(stale))
        stale &= ~flags_of(pending, npages)
        unknown_pages = int(np.count_nonzero(stale))
        if unneeded is not None:
            stale &= ~flags_of(unneeded, npages)
        pages = np.flatnonzero(stale)
        starts = np.flatnonzero(np.diff(pages, prepend=-2) != 1)
        firsts = pages[starts]
        counts = np.diff(starts, append=len(pages))
        shown = slice(max_ranges)
        return LostPages(
            slot=self.life.slot,
            current_pages=npages - stale_pages,
            pending_pages=stale_pages - unknown_pages,
            unneeded_pages=unknown_pages - len(pages),
            lost_pages=len(pages),
            lost_ranges=tuple(zip(firsts[shown].tolist(), counts[shown].tolist(), strict=True)),
            ranges_omitted=max(len(firsts) - max_ranges, 0),
        )


class Judgement:
    """The comparison of a copy with its source, slot by slot."""

    def __init__(self) -> None:
        self._compared: list[LostPages] = []
        self._unproved: list[int] = []
        self._ranges_left = MAX_ALL_LOST_RANGES

    def compare(
        self, of_slot: SlotCopy, source: Versions, pending: Words, unneeded: Words | None
    ) -> None:
        """Add the comparison of a slot."""
        most = min(self._ranges_left, MAX_LOST_RANGES)
        found = of_slot.compare(source, pending, unneeded, most)
        self._compared.append(found)
        self._ranges_left -= len(found.lost_ranges)

    def cannot_compare(self, slot: int) -> None:
        """Add a slot of which nothing is proved."""
        if slot not in self._unproved:
            self._unproved.append(slot)

    def verdict(self) -> Verification:
        """Return what is proved."""
        listed = found = self._compared
        if len(listed) > MAX_LISTED_SLOTS:
            listed = [each for each in found if each.lost_pages][:MAX_LISTED_SLOTS]
        return Verification(
            enabled=True,
            verified=not self._unproved,
            current_pages=sum(each.current_pages for each in found),
            pending_pages=sum(each.pending_pages for each in found),
            unneeded_pages=sum(each.unneeded_pages for each in found),
            lost_pages=sum(each.lost_pages for each in found),
            slots=tuple(listed),
            unproved_slots=tuple(sorted(self._unproved)[:MAX_LISTED_SLOTS]),
        )


NOTHING_PROVED: Final = Verification(
    enabled=False,
    verified=False,
    current_pages=0,
    pending_pages=0,
    unneeded_pages=0,
    lost_pages=0,
    slots=(),
    unproved_slots=(),
)
