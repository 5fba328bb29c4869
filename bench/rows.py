"""A row of the table: what is measured against what, the figures, and the verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.goals import Goal, Verdict
from bench.rounds import Effort, Side, in_turn


class SkippedError(Exception):
    """Raised where a row cannot be measured here; its text is the reason."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Figures of all rounds: the median, and what the middle half of them lies between."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, figures: Sequence[float]) -> "Spread":
        """Summarise figures."""
        ascending = sorted(figures)
        quarter = len(ascending) // 4
        return cls(median(ascending), ascending[quarter], ascending[-1 - quarter], len(ascending))


@dataclass(frozen=True, slots=True)
class Figures:
    """The measurement of a row: the figure with its spread, and both sides as they are shown."""

    spread: Spread
    ours: str
    theirs: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row before it is measured.

    Attributes:
        name: As `--row` takes it.
        measure: What is measured.
        state: Of the slot or the service when the clock starts.
        against: The other side; empty for a figure that is compared with its goal alone.
    """

    name: str
    measure: str
    state: str
    against: str
    goal: Goal
    run: Callable[[Goal], Figures]


@dataclass(frozen=True, slots=True)
class Result:
    """A row once measured, or skipped."""

    row: Row
    figures: Figures | None
    skipped: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on its figure; None for a row skipped."""
        return self.row.goal.judge(self.figures.spread.median) if self.figures else None


def measure(row: Row) -> Result:
    """Measure a row; one that cannot be measured here is skipped, with the reason."""
    try:
        return Result(row, row.run(row.goal))
    except SkippedError as why:
        return Result(row, None, str(why))


def measure_again(row: Row) -> Result:
    """Measure a row, and if it is wildly off once more: it is so only if it is so twice.

    What else runs on a machine makes a row worse, never better than it is.
    """
    first = measure(row)
    if first.verdict is not Verdict.WILDLY_OFF:
        return first
    second = measure(row)
    return first if second.verdict is Verdict.WILDLY_OFF else second


def compare(
    goal: Goal,
    ours: Side,
    theirs: Side,
    effort: Effort,
    show: Callable[[float], str] | None = None,
) -> Figures:
    """Time two sides in turn; the ratio is taken in each round, so slow moments cancel out.

    Args:
        goal: Decides which way the ratio goes.
        ours: This project.
        theirs: What it is measured against.
        effort: How long to measure.
        show: Formats the seconds of a round; as milliseconds and the like if absent.
    """
    times = in_turn(ours, theirs, effort)
    show = show or duration
    ratios = [goal.ratio(*pair) for pair in zip(*times, strict=True)]
    return Figures(Spread.of(ratios), show(median(times[0])), show(median(times[1])))


def duration(seconds: float) -> str:
    """Show a time in the unit that suits it."""
    for factor, unit in ((1, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def rate(requests: int) -> Callable[[float], str]:
    """Make a formatter of the seconds of a number of requests as requests a second."""
    return lambda seconds: f"{requests / seconds:,.0f}/s"
