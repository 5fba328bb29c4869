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
    """A write in flight: its pages, and which of them no collection has taken meanwhile."""

    pages: Pages
    untaken: PageMask


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
    """The pages of one memslot, as far as its client knows their state."""

    def __init__(self, npages: int) -> None:
        self.npages = npages
        self.counts = PageCounts()
        self._owed = np.zeros(npages, dtype=np.bool_)
        self._possible = np.zeros(npages, dtype=np.bool_)
        self._seen = np.zeros(npages, dtype=np.bool_)
        self._in_flight: list[Write] = []
        # Of the open collection: what was owed when it began, and the writes that overlap it
        self._required: PageMask | None = None
        self._overlapping: list[Write] = []

    @property
    def owed(self) -> Pages:
        """The pages that the next collection must report, ascending."""
        return np.flatnonzero(self._owed)

    @property
    def seen(self) -> PageMask:
        """The pages reported since they were last taken."""
        return self._seen.copy()

    def expect_all(self) -> None:
        """Mark every page as owed: the log was enabled initially-all-set."""
        self._owed[:] = True

    def write_sent(self, pages: Pages) -> Write:
        """Record a write before its request is sent."""
        write = Write(pages, np.ones(len(pages), dtype=np.bool_))
        self._in_flight.append(write)
        if self._required is not None:
            self._overlapping.append(write)
        self.counts.written += len(pages)
        return write

    def write_done(self, write: Write) -> None:
        """Record the response to a write; one that overlaps a collection is judged at its end."""
        self._in_flight.remove(write)
        if self._required is None:
            self._settle(write)

    def collection_began(self) -> None:
        """Record a get or a clear before its request is sent."""
        assert self._required is None, "one collection at a time"
        self._required = self._owed.copy()
        self._overlapping = list(self._in_flight)

    def collection_refused(self) -> None:
        """Record that the get or clear was refused and changed nothing."""
        self._close()

    def reported(self, bitmap: PageMask, *, taken: bool) -> None:
        """Record the log that a get returned; without manual protect the get took its pages too."""
        required = self._required
        assert required is not None, "no collection is open"
        allowed = required | self._possible
        for write in self._overlapping:
            allowed[write.pages] = True

        over_reported = bitmap & ~allowed
        self.counts.over_reported += int(np.count_nonzero(over_reported))
        _extend_first(self.counts.first_over_reported, over_reported)

        self.counts.reported += int(np.count_nonzero(bitmap & ~self._seen))
        # The state of each bit is known now
        self._possible[:] = False
        self._count_lost(required & ~bitmap)
        if taken:
            self._take(bitmap)
        else:
            self._seen |= bitmap
            self._owed |= bitmap
        self._close()

    def cleared(self, bitmap: PageMask) -> None:
        """Record a clear of the pages of `bitmap`.

        A page cleared before any get has reported it is lost: it is never sent.
        """
        required = self._required
        assert required is not None, "no collection is open"
        self._count_lost(required & bitmap & ~self._seen)
        self._take(bitmap)
        self._close()

    def finish(self) -> None:
        """Record the end: pages that are still owed are lost."""
        assert not self._in_flight, "a write is still in flight"
        self._count_lost(self._owed.copy())

    def _take(self, bitmap: PageMask) -> None:
        self.counts.taken += int(np.count_nonzero(bitmap))
        self._owed &= ~bitmap
        self._possible &= ~bitmap
        self._seen &= ~bitmap
        for write in self._overlapping:
            write.untaken &= ~bitmap[write.pages]

    def _close(self) -> None:
        self._required = None
        for write in self._overlapping:
            if write not in self._in_flight:
                self._settle(write)
        self._overlapping = []

    def _settle(self, write: Write) -> None:
        self._owed[write.pages[write.untaken]] = True
        self._possible[write.pages[~write.untaken]] = True

    def _count_lost(self, lost: PageMask) -> None:
        self.counts.lost += int(np.count_nonzero(lost))
        _extend_first(self.counts.first_lost, lost)
        # Counted once: a later report of the page is not over-reported
        self._owed &= ~lost
        self._possible |= lost


def _extend_first(first: list[int], pages: PageMask) -> None:
    room = SHOWN_PAGES - len(first)
    first.extend(np.flatnonzero(pages)[:room].tolist())
