"""Two sides in turn, round by round, so that whatever slows the machine down slows both."""

import gc
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeAlias

MAX_ROUNDS: Final = 400

Clock: TypeAlias = Callable[[], float]

CPU_CLOCK: Final[Clock] = time.thread_time
"""For two sides that run in this thread: on an idle machine the same as time itself, and on a busy one it
does not count what others take, which would flatter the shorter side."""

WALL_CLOCK: Final[Clock] = time.perf_counter
"""For a side that waits for another process."""


def nothing() -> None:
    """Restore nothing: the work leaves everything as it was."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of two sides.

    Attributes:
        work: What is timed.
        restore: Puts the state back before the work, outside of the timing.
        repeats: How often both are done in a round, whose time is the median: for a short side whose
            opposite takes so long that rounds are few.
        clock: Times it.
    """

    work: Callable[[], object]
    restore: Callable[[], object] = nothing
    repeats: int = 1
    clock: Clock = CPU_CLOCK

    def timed(self) -> float:
        """Do a round of the work; return the seconds it took."""
        return median(self._once() for _ in range(self.repeats))

    def _once(self) -> float:
        self.restore()
        start = self.clock()
        self.work()
        return self.clock() - start


def waiting(
    work: Callable[[], object], restore: Callable[[], object] = nothing, repeats: int = 1
) -> Side:
    """Make a side that waits for another process."""
    return Side(work, restore, repeats, WALL_CLOCK)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure: rounds for so many seconds, but at least so many rounds."""

    seconds: float
    min_rounds: int


def in_turn(ours: Side, theirs: Side, effort: Effort) -> tuple[list[float], list[float]]:
    """Time two sides in turn; return the seconds of each, round by round.

    The first round warms up and is not counted. Who goes first changes with every round.
    """
    times: tuple[list[float], list[float]] = ([], [])
    with _uncollected():
        for side in (ours, theirs):
            side.timed()
        end = time.perf_counter() + effort.seconds
        while len(times[0]) < effort.min_rounds or (
            time.perf_counter() < end and len(times[0]) < MAX_ROUNDS
        ):
            order = (0, 1) if len(times[0]) % 2 else (1, 0)
            for number in order:
                times[number].append((ours, theirs)[number].timed())
    return times


@contextmanager
def _uncollected() -> Generator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
