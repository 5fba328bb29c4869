"""Goals of figures, and the verdict on one that misses its goal."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from typing_extensions import override

WILD_FACTOR: Final = 3.0
"""A figure so many times worse than its goal is not explained by a noisy machine."""

SMALL_MARGIN: Final = 2.0
"""A row with less margin than this may be wildly off by a noisy machine alone."""


class Verdict(StrEnum):
    """The verdict on a figure, against its goal."""

    MET = "met"
    MISSED = "missed"
    WILDLY_OFF = "wildly off"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound for a figure.

    Attributes:
        bound: The figure itself may be this.
        is_floor: At least the bound, or at most.
        unit: Of the figure; none for a ratio.
    """

    bound: float
    is_floor: bool
    unit: str = ""

    def ratio(self, ours: float, theirs: float) -> float:
        """Return the goal's ratio of two times: times faster, or times as long."""
        return theirs / ours if self.is_floor else ours / theirs

    def margin(self, figure: float) -> float:
        """Return how many times worse a figure might be before it is wildly off."""
        return WILD_FACTOR / self._shortfall(figure)

    def _shortfall(self, figure: float) -> float:
        return self.bound / figure if self.is_floor else figure / self.bound

    def judge(self, figure: float) -> Verdict:
        """Compare a figure with the goal."""
        shortfall = self._shortfall(figure)
        if shortfall <= 1:
            return Verdict.MET
        return Verdict.MISSED if shortfall <= WILD_FACTOR else Verdict.WILDLY_OFF

    @override
    def __str__(self) -> str:
        """Show the goal as the table does."""
        word = "at least" if self.is_floor else "at most"
        return f"{word} {self.bound:g}{f' {self.unit}' if self.unit else ''}"


def at_least(bound: float) -> Goal:
    """Require a ratio: so many times faster, or so much of the other's requests a second."""
    return Goal(bound, is_floor=True)


def at_most(bound: float, unit: str = "") -> Goal:
    """Require a ratio of times, or a figure with a unit, no larger than this."""
    return Goal(bound, is_floor=False, unit=unit)
