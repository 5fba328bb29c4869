"""The destination's memory, as far as a proof needs it: as of which write each page arrived.

A page is right at the destination if it has the version that the source's page has; what is not
right, and neither pending nor in a log, is lost.
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.migrations import LostPages
from hacdbs_sim.model.words import WORD_BITS, Words

Versions: TypeAlias = NDArray[np.uint32]

MAX_LOST_RANGES: Final = 256
"""The most ranges that are listed of one slot."""

MAX_ALL_LOST_RANGES: Final = 4_096
"""The most of all slots together: reports are kept."""

MAX_LISTED_SLOTS: Final = 256
_DENSE_SHARE: Final = 4
"""With pages in more than one word in so many, a pass over all words beats picking them."""


class Arrived:
    """As of which write the pages of one slot arrived.

    A page that is read while the last write has number n arrives with all writes up to n. It is
    stale once a later one has touched it, and until it arrives.

    Args:
        slot: Its number.
        npages: Its length.
        last_version: The last write that the destination has from the start; None: it has nothing.
    """

    def __init__(self, slot: int, npages: int, last_version: int | None = None) -> None:
        self._slot = slot
        # The first write that each page has not; 0 where it has not arrived
        self._lacks = np.zeros(npages, np.uint32)
        if last_version is not None:
            self._lacks[:] = last_version + 1

    def receive(self, first_page: int, sent: Words, last_version: int) -> None:
        """Receive pages of a window.

        Args:
            first_page: Where it begins, in pages of the slot.
            sent: uint64 words, which of its pages were sent; bit 0 is `first_page`.
            last_version: The number of the last write when they were read.
        """
        here = self._lacks[first_page : first_page + len(sent) * WORD_BITS]
        at = np.flatnonzero(sent)
        if len(at) * _DENSE_SHARE > len(sent):
            np.copyto(here, np.uint32(last_version + 1), where=_flags(sent, len(here)))
            return
        word, bit = np.nonzero(_flags(sent[at], len(at) * WORD_BITS).reshape(-1, WORD_BITS))
        here[at[word] * WORD_BITS + bit] = last_version + 1

    def lost(self, source: Versions, known: Words, max_ranges: int = MAX_LOST_RANGES) -> LostPages:
        """Return what is lost.

        Args:
            source: uint32[npages], the source's versions.
            known: uint64 words, pages of which it is known that they have to be sent.
            max_ranges: The most ranges to list.
        """
        stale = source >= self._lacks
        stale &= ~_flags(known, len(source))
        pages = np.flatnonzero(stale)
        starts = np.flatnonzero(np.diff(pages, prepend=-2) != 1)
        firsts = pages[starts]
        counts = np.diff(starts, append=len(pages))
        shown = slice(max_ranges)
        return LostPages(
            slot=self._slot,
            lost_pages=len(pages),
            lost_ranges=tuple(zip(firsts[shown].tolist(), counts[shown].tolist(), strict=True)),
            ranges_omitted=max(len(firsts) - max_ranges, 0),
        )


def _flags(words: Words, count: int) -> NDArray[np.bool_]:
    """Return the first bits of words, one boolean each."""
    octets = words.astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(octets, count=count, bitorder="little").view(np.bool_)
