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
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.draws import HALF, LOWER, below, draws
from hacdbs_sim.model.errors import InvalidWorkloadError, check_within
from hacdbs_sim.model.workloads import HotSet, Moving, Sequential, TimedFields, Uniform, Zipf
from hacdbs_sim.sim.guest.zipf import zipf_table

PagesOf: TypeAlias = Callable[[int, int], NDArray[np.uint64]]
"""Returns the pages of so many writes (the second argument) from one number (the first) on."""


def pages_of(spec: TimedFields, seed: int, num_pages: int) -> PagesOf:
    """Return the pattern of a workload on a window (InvalidWorkloadError if it is too small)."""
    match spec:
        case Sequential():
            return partial(_sequential, num_pages)
        case Uniform():
            return partial(_uniform, seed, num_pages)
        case HotSet():
            return partial(_hot_set, seed, num_pages, spec)
        case Zipf():
            return zipf_table(seed, num_pages, spec.exponent).pages
        case _:
            assert isinstance(spec, Moving), f"{type(spec).__name__} has no pattern"
            check_within(InvalidWorkloadError, "set_pages", spec.set_pages, 1, num_pages)
            check_within(InvalidWorkloadError, "step_pages", spec.step_pages, 1, num_pages)
            return partial(_moving, seed, num_pages, spec)


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
