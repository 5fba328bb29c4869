"""What a migration's client may expect of a dirty log, from what it sent and received alone.

A page is *owed* once the answer to a write of it has arrived: from then on each collection must
report it, until one takes it from the log. A get without manual protect reports and takes at once;
with manual protect a get only reports, and a clear takes. A page that is owed and not reported is
**lost**; one reported though it cannot have been written since it was last taken is
**over-reported**.

The guest runs on while the log is collected, and only the service knows the order of two calls
that overlap in time. So a write in flight during a collection counts as follows, which accuses a
correct log of nothing:

* its page was taken meanwhile: the bit may have been set before that, or anew after it. The next
  collection may report the page and need not: it is *possible*;
* its page was not taken: the bit is there once the write is answered. The page is owed.

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
    """A write on its way: its pages, and which of them no collection has taken meanwhile."""

    pages: Pages
    untaken: PageMask


@dataclass(slots=True)
class Totals:
    """What the client counted."""

    written: int = 0
    reported: int = 0
    taken: int = 0
    lost: int = 0
    over_reported: int = 0
    first_lost: list[int] = field(default_factory=list)
    first_over_reported: list[int] = field(default_factory=list)


class Ledger:
    """The pages of one memslot as its client knows them."""

    def __init__(self, npages: int) -> None:
        self.npages = npages
        self.totals = Totals()
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
        """The log was enabled initially-all-set: every page is owed."""
        self._owed[:] = True

    def write_sent(self, pages: Pages) -> Write:
        """Note a write before its request leaves."""
        write = Write(pages, np.ones(len(pages), dtype=np.bool_))
        self._in_flight.append(write)
        if self._required is not None:
            self._overlapping.append(write)
        self.totals.written += len(pages)
        return write

    def write_answered(self, write: Write) -> None:
        """Note a write after its answer; one that overlaps a collection is judged at its end."""
        self._in_flight.remove(write)
        if self._required is None:
            self._settle(write)

    def collection_began(self) -> None:
        """Note a get or a clear before its request leaves."""
        assert self._required is None, "one collection at a time"
        self._required = self._owed.copy()
        self._overlapping = list(self._in_flight)

    def collection_refused(self) -> None:
        """Note that the get or clear was refused and changed nothing."""
        self._close()

    def reported(self, bitmap: PageMask, *, taken: bool) -> None:
        """Note the answer to a get, which without manual protect has taken the pages too."""
        required = self._required
        assert required is not None, "no collection is open"
        allowed = required | self._possible
        for write in self._overlapping:
            allowed[write.pages] = True

        over_reported = bitmap & ~allowed
        self.totals.over_reported += int(np.count_nonzero(over_reported))
        _note_first(self.totals.first_over_reported, over_reported)

        self.totals.reported += int(np.count_nonzero(bitmap & ~self._seen))
        # The bit's state is known now, whatever was only possible before
        self._possible[:] = False
        self._accuse_lost(required & ~bitmap)
        if taken:
            self._take(bitmap)
        else:
            self._seen |= bitmap
            self._owed |= bitmap
        self._close()

    def cleared(self, bitmap: PageMask) -> None:
        """Note the answer to a clear of the pages of `bitmap`.

        A page cleared before any get has reported it is lost: nobody will send it.
        """
        required = self._required
        assert required is not None, "no collection is open"
        self._accuse_lost(required & bitmap & ~self._seen)
        self._take(bitmap)
        self._close()

    def finish(self) -> None:
        """Note the end: what is still owed will not be reported any more."""
        assert not self._in_flight, "a write is still in flight"
        self._accuse_lost(self._owed.copy())

    def _take(self, bitmap: PageMask) -> None:
        self.totals.taken += int(np.count_nonzero(bitmap))
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

    def _accuse_lost(self, lost: PageMask) -> None:
        self.totals.lost += int(np.count_nonzero(lost))
        _note_first(self.totals.first_lost, lost)
        # Accused once: should the page turn up later, that is no second fault
        self._owed &= ~lost
        self._possible |= lost


def _note_first(shown: list[int], pages: PageMask) -> None:
    room = SHOWN_PAGES - len(shown)
    shown.extend(np.flatnonzero(pages)[:room].tolist())
