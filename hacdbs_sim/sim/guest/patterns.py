"""Which pages a workload writes, by the number of the write: pure functions of seed and number.

Pages are counted from the start of the workload's window, n pages long; i is the number of a write,
from 0; u and v are the halves of draw(seed, i) as fractions of 1 (`draws.py`).

    sequential  i mod n
    uniform     floor(u * n)
    hot_set     h = max(1, round(hot_fraction * n)); v < hot_share: floor(u * h), else h + floor(u * (n - h))
    zipf        rank k in proportion to k**-exponent, scattered over the window (`zipf.py`)
    moving      (floor(i / move_every_writes) * step_pages + floor(u * set_pages)) mod n
    replay, intervals   the pages of interval after interval, in the order recorded (`trace.py`)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.errors import InvalidWorkloadError
from hacdbs_sim.sim.guest.draws import HALF, LOWER, below, draws
from hacdbs_sim.sim.guest.trace import Trace
from hacdbs_sim.sim.guest.zipf import zipf_table

PagesOf: TypeAlias = Callable[[int, int], NDArray[np.uint64]]
"""Gives the pages of so many writes (the second argument) from one number (the first) on."""

MIN_EXPONENT: Final = 0.01
MAX_EXPONENT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Sequential:
    """Page after page, from the start again at the window's end."""

    kind: ClassVar[Literal["sequential"]] = "sequential"

    def pages_of(self, seed: int, num_pages: int) -> PagesOf:  # noqa: ARG002 - draws nothing
        """Give the pattern on a window."""
        return partial(_sequential, num_pages)


@dataclass(frozen=True, slots=True)
class Uniform:
    """Each page as likely as any other."""

    kind: ClassVar[Literal["uniform"]] = "uniform"

    def pages_of(self, seed: int, num_pages: int) -> PagesOf:
        """Give the pattern on a window."""
        return partial(_uniform, seed, num_pages)


@dataclass(frozen=True, slots=True)
class HotSet:
    """A share of the writes goes to a fraction of the pages, those at the window's start."""

    kind: ClassVar[Literal["hot_set"]] = "hot_set"

    hot_fraction: float = 0.1
    hot_share: float = 0.9

    def pages_of(self, seed: int, num_pages: int) -> PagesOf:
        """Give the pattern on a window.

        Raises:
            InvalidWorkloadError: a share or fraction outside 0..1.
        """
        _check_within("hot_fraction", self.hot_fraction, 0.0, 1.0)
        _check_within("hot_share", self.hot_share, 0.0, 1.0)
        return partial(_hot_set, seed, num_pages, self)


@dataclass(frozen=True, slots=True)
class Zipf:
    """A few pages very often, most hardly ever."""

    kind: ClassVar[Literal["zipf"]] = "zipf"

    exponent: float = 1.0

    def pages_of(self, seed: int, num_pages: int) -> PagesOf:
        """Give the pattern on a window.

        Raises:
            InvalidWorkloadError: an exponent outside 0.01..10.
        """
        _check_within("exponent", self.exponent, MIN_EXPONENT, MAX_EXPONENT)
        return zipf_table(seed, num_pages, self.exponent).pages


@dataclass(frozen=True, slots=True)
class Moving:
    """A working set of `set_pages` whose start moves by `step_pages` every so many writes."""

    kind: ClassVar[Literal["moving"]] = "moving"

    set_pages: int
    move_every_writes: int
    step_pages: int = 1

    def pages_of(self, seed: int, num_pages: int) -> PagesOf:
        """Give the pattern on a window.

        Raises:
            InvalidWorkloadError: a set or step larger than the window, or a count below 1.
        """
        _check_within("set_pages", self.set_pages, 1, num_pages)
        _check_within("step_pages", self.step_pages, 1, num_pages)
        _check_within("move_every_writes", self.move_every_writes, 1, (1 << 53) - 1)
        return partial(_moving, seed, num_pages, self)


Pattern: TypeAlias = Sequential | Uniform | HotSet | Zipf | Moving | Trace


def _sequential(num_pages: int, first: int, count: int) -> NDArray[np.uint64]:
    pages = np.arange(first % num_pages, first % num_pages + count, dtype=np.uint64)
    pages %= np.uint64(num_pages)
    return pages


def _uniform(seed: int, num_pages: int, first: int, count: int) -> NDArray[np.uint64]:
    return below(draws(seed, first, count), num_pages)


def _hot_set(
    seed: int, num_pages: int, pattern: HotSet, first: int, count: int
) -> NDArray[np.uint64]:
    draw = draws(seed, first, count)
    hot = max(1, round(pattern.hot_fraction * num_pages))
    if hot == num_pages:
        return below(draw, num_pages)
    is_cold = (draw & LOWER) >= np.uint64(round(pattern.hot_share * (1 << HALF)))
    span = np.where(is_cold, np.uint64(num_pages - hot), np.uint64(hot))
    draw >>= np.uint64(HALF)
    draw *= span
    draw >>= np.uint64(HALF)
    draw += is_cold * np.uint64(hot)
    return draw


def _moving(
    seed: int, num_pages: int, pattern: Moving, first: int, count: int
) -> NDArray[np.uint64]:
    moved = np.arange(first, first + count, dtype=np.uint64)
    moved //= np.uint64(pattern.move_every_writes)
    moved %= np.uint64(num_pages)
    moved *= np.uint64(pattern.step_pages)
    moved += below(draws(seed, first, count), pattern.set_pages)
    moved %= np.uint64(num_pages)
    return moved


def _check_within(field: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InvalidWorkloadError(
            f"{field} must be {low}..{high}, not {value}",
            field=field,
            bound=f"{low}..{high}",
            value=str(value),
        )
