"""The rule of the kernel's dirty_log_test, over whole bitmaps at once.

In an iteration the guest writes the iteration's number. The log is collected twice: once while the
guest runs, once after it has stopped. Then, for each page:

1. A page that either collection names was written in this iteration, so it holds its number.
2. A page that neither names was not, so it holds an older number (or 0).
3. Exception, iteration 1 only: with all bits initially set a page may be named although nothing wrote
   it. It holds 0 then, and only the first collection may name it: what that one named has
   been cleared.

With the guest's writes truly concurrent with the first collection, the harness changes the memory
before it asks the service to log the write (guest.py), so three orders are possible for a page:

4. The service logs the write before the collection: the first collection names the page, and
   the memory, changed earlier still, holds the number: rule 1.
5. It logs the write after the collection took the page's bit, or after the get that answered and before
   the clear: the bit is set anew by the later write (the page was write-protected, so
   the write faulted), or it was set by an earlier write and is cleared by the clear. In the first case the second
   collection names it. In the second the first one did: the clear takes only what that get named. In
   both the page holds the number: rule 1.
6. A write requested in an iteration is answered before the second collection begins (the guest
   stops: its calls are awaited), so no write is logged in the iteration after the one whose number it
   wrote. Without that, a page could hold an old number and be named: rule 1 would be broken by the harness.

So rules 1 to 3 need no exception for races. What a service must do for 5 is to make get and clear of a
page atomic against a write to it; a service that clears what it did not report fails rule 2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class VerificationError(AssertionError):
    """The log says something else than memory does."""


@dataclass
class Verified:
    """What has been judged so far."""

    iterations: int = 0
    pages: int = 0
    named: int = 0
    excused: int = 0

    def verify(
        self,
        iteration: int,
        values: NDArray[np.uint64],
        while_running: NDArray[np.bool_],
        once_stopped: NDArray[np.bool_],
        *,
        initially_set: bool,
    ) -> None:
        """Judge one iteration's two collections; raise VerificationError at the first broken rule."""
        named = while_running | once_stopped
        fresh = values == iteration
        untouched = np.zeros_like(named)
        if initially_set and iteration == 1:
            untouched = named & ~once_stopped & (values == 0)
        _refuse(named & ~fresh & ~untouched, "dirty in the log, but not written", iteration)
        _refuse(~named & fresh, "written, but missing in the log", iteration)
        _refuse(values > iteration, "written in a later iteration", iteration)
        self.iterations += 1
        self.pages += len(values)
        self.named += int(named.sum())
        self.excused += int(untouched.sum())


def _refuse(broken: NDArray[np.bool_], what: str, iteration: int) -> None:
    if broken.any():
        first = np.flatnonzero(broken)[:8].tolist()
        raise VerificationError(
            f"iteration {iteration}: {int(broken.sum())} pages {what}, the first ones {first}"
        )
