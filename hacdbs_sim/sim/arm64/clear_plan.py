"""The outcome of an accelerated clear, derived from one rank (docs/kernel.md S.1).

Theory of operation. The routine turns the masked bits of a window into entries in ascending order
and runs the unit at every n-th entry and once for the rest. So with T masked pages, an entry is its
*rank*: run rank // n, INDEX rank % n. As long as every entry can be cleaned there are ceil(T / n) runs
and all T are cleaned. If the entry of rank r cannot:

    b = r // n is the run that stops, at INDEX r % n; r entries are cleaned, in b + 1 runs of
    min(n(b + 1), T) entries. The word that holds the last of those is the frontier F. Entries from
    r on, and the masked bits of F past its last entry, go back to the bitmap; words beyond F
    were never taken, nor were their blocks split.
"""

from dataclasses import dataclass
from typing import NamedTuple

from hacdbs_sim.sim.arm64.faults import ArmedFault
from hacdbs_sim.sim.arm64.hacdbs import Walk, end_of_array
from hacdbs_sim.sim.arm64.sysregs import ErrReason, Hacdbscons


@dataclass(frozen=True, slots=True)
class Stop:
    """Why, and at which rank, the unit stops before it is done."""

    rank: int
    reason: ErrReason
    fault: ArmedFault | None


class ClearPlan(NamedTuple):
    """All that follows from T, n and the first entry that cannot be cleaned."""

    total: int
    """T."""
    capacity: int
    """n. runs, entries, cleaned: docs/kernel.md S.1."""
    runs: int
    entries: int
    cleaned: int
    stop: Stop | None
    """The entry that failed, if one did."""
    lost: ArmedFault | None
    """The lost interrupt that ended the call, if one did."""

    @property
    def gave_up(self) -> bool:
        """Whether the call stopped at an error or a lost interrupt."""
        return self.stop is not None or self.lost is not None

    @property
    def last_size(self) -> int:
        """The last array's entries."""
        return self.entries - self.capacity * (self.runs - 1)

    @property
    def last_index(self) -> int:
        """INDEX after the last run."""
        return self.cleaned - self.capacity * (self.runs - 1)

    @property
    def ends_full(self) -> bool:
        """Whether the last array was full and the last entry was in it."""
        return self.total > 0 and self.total % self.capacity == 0

    def walk(self) -> Walk:
        """Return the runs as the unit accounts for them."""
        if self.stop is not None:
            end = Hacdbscons(self.stop.reason, self.last_index)
        else:
            end = end_of_array(self.last_size, self.capacity)
        return Walk(
            self.runs, self.entries, self.cleaned, end, self.last_size, self.lost is not None
        )


def plan_clear(
    total: int, capacity: int, stop: Stop | None, lost: tuple[int, ArmedFault] | None
) -> ClearPlan:
    """Work a call out from T, n, the entry that fails and the run whose interrupt a fault loses."""
    runs = -(-total // capacity) if stop is None else stop.rank // capacity + 1
    if lost is not None and lost[0] >= runs:
        lost = None  # that run never comes
    if lost is not None:
        runs = lost[0] + 1
        if stop is not None and stop.rank // capacity > lost[0]:
            stop = None  # the call is over before that entry's run
    entries = min(capacity * runs, total)
    return ClearPlan(
        total=total,
        capacity=capacity,
        runs=runs,
        entries=entries,
        cleaned=entries if stop is None else stop.rank,
        stop=stop,
        lost=lost[1] if lost else None,
    )
