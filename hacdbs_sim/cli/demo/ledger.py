"""What a migration's client may expect of a dirty log, from its own requests and their responses.

A page is *owed* once the response to a write of it has arrived: from then on each collection must
report it, until one takes it from the log. A get without manual protect reports and takes at once;
with manual protect a get only reports, and a clear takes. A page that is owed and not reported is
**lost**; one reported though it cannot have been written since it was last taken is
**over-reported**.

The guest runs on while the log is collected, and only the service knows the order of two calls
that overlap in time. So a write in flight during a collection counts as follows, which reports no
error of a correct log:

* its page was taken meanwhile: the bit may have been set before that, or anew after it. The next
  collection may report the page and need not: it is *possible*;
* its page was not taken: the bit is set once the response has arrived. The page is owed.

Calls that do not overlap are judged exactly. Pages are numbered from the slot's start. One
collection is open at a time; writes may overlap it and each other.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Pages = NDArray[np.int64]
PageMask = NDArray[np.bool_]

SHOWN_PAGES = 8


@dataclass(slots=True, eq=False)
class Write:
    """A write: its pages, which of them no collection has taken meanwhile, whether it has ended."""

    pages: Pages
    untaken: PageMask
    is_done: bool = False


@dataclass(slots=True)
class PageCounts:
    """Counts of pages, by the client alone."""

    written: int = 0
    reported: int = 0
    taken: int = 0
    lost: int = 0
    over_reported: int = 0
    first_lost: list[int] = field(default_factory=list)
    first_over_reported: list[int] = field(default_factory=list)


class Ledger:
    """The pages of one memslot, as far as its client knows their state.

    Attributes:
        seen: The pages reported since they were last taken.
    """

    def __init__(self, npages: int) -> None:
        self.npages = npages
        self.counts = PageCounts()
        self.seen = np.zeros(npages, dtype=np.bool_)
        self._owed = np.zeros(npages, dtype=np.bool_)
        self._possible = np.zeros(npages, dtype=np.bool_)
        # What was owed when the open collection began
        self._required: PageMask | None = None
        # The writes in flight, and those that overlap the open collection
        self._writes: list[Write] = []

    @property
    def owed(self) -> Pages:
        """The pages that the next collection must report, ascending."""
        return np.flatnonzero(self._owed)

    def expect_all(self) -> None:
        """Mark every page as owed: the log was enabled initially-all-set."""
        self._owed[:] = True

    def write_sent(self, pages: Pages) -> Write:
        """Record a write before its request is sent."""
        write = Write(pages, np.ones(len(pages), dtype=np.bool_))
        self._writes.append(write)
        self.counts.written += len(pages)
        return write

    def write_done(self, write: Write) -> None:
        """Record the response to a write; one that overlaps a collection is judged at its end."""
        write.is_done = True
        if self._required is None:
            self._settle()

    def collection_began(self) -> None:
        """Record a get or a clear before its request is sent."""
        assert self._required is None, "one collection at a time"
        self._required = self._owed.copy()

    def collection_ended(self) -> None:
        """Record the end of a collection; nothing else is recorded of one that was refused."""
        self._required = None
        self._settle()

    def reported(self, bitmap: PageMask, *, taken: bool) -> None:
        """Record the log that a get returned; without manual protect the get took its pages too."""
        assert self._required is not None, "no collection is open"
        allowed = self._required | self._possible
        for write in self._writes:
            allowed[write.pages] = True
        self.counts.over_reported += _count(bitmap & ~allowed, self.counts.first_over_reported)
        self.counts.reported += int(np.count_nonzero(bitmap & ~self.seen))
        # The state of each bit is known now
        self._possible[:] = False
        self._count_lost(self._required & ~bitmap)
        if taken:
            self._take(bitmap)
        else:
            self.seen |= bitmap
            self._owed |= bitmap
        self.collection_ended()

    def cleared(self, bitmap: PageMask) -> None:
        """Record a clear of pages; one that no get has reported is lost: it is never sent."""
        assert self._required is not None, "no collection is open"
        self._count_lost(self._required & bitmap & ~self.seen)
        self._take(bitmap)
        self.collection_ended()

    def finish(self) -> None:
        """Record the end: pages that are still owed are lost."""
        assert not self._writes, "a write is still in flight"
        self._count_lost(self._owed.copy())

    def _take(self, bitmap: PageMask) -> None:
        self.counts.taken += int(np.count_nonzero(bitmap))
        self._owed &= ~bitmap
        self._possible &= ~bitmap
        self.seen &= ~bitmap
        for write in self._writes:
            write.untaken &= ~bitmap[write.pages]

    def _settle(self) -> None:
        for write in self._writes:
            if write.is_done:
                self._owed[write.pages[write.untaken]] = True
                self._possible[write.pages[~write.untaken]] = True
        self._writes = [write for write in self._writes if not write.is_done]

    def _count_lost(self, lost: PageMask) -> None:
        self.counts.lost += _count(lost, self.counts.first_lost)
        # Counted once: a later report of the page is not over-reported
        self._owed &= ~lost
        self._possible |= lost


def _count(wrong: PageMask, first: list[int]) -> int:
    """Count pages, and append the first ones to a list that has room for a few."""
    pages = np.flatnonzero(wrong)
    first.extend(pages[: SHOWN_PAGES - len(first)].tolist())
    return len(pages)
