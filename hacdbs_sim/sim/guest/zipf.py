"""Zipf's law over the pages of a window: rank k is written in proportion to k**-exponent.

The first 1,024 ranks have their exact weight each. Beyond them ranks are taken in bins 2 % wide,
drawn evenly inside a bin; a bin's weight is the integral of x**-exponent over it, which at such ranks
differs from the sum by less than one part in ten million. A bin is drawn in one step from an alias
table (Walker 1977, Vose 1991) of 32-bit integer thresholds, so that no rounding of the draw's own
enters. Ranks are scattered over the window by the bijection rank -> (a * rank + c) mod n, with a and
n coprime.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import expm1, gcd, log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.draws import HALF, LOWER, below, draws, mix

EXACT_RANKS: Final = 1024
BIN_GROWTH: Final = 1.02
_ONE: Final = 1 << HALF


@dataclass(frozen=True, slots=True, eq=False)
class ZipfTable:
    """The bins of a window, ready to be drawn from."""

    num_pages: int
    seed: int
    keep: NDArray[np.uint64]
    """uint64[bins], the bin itself is taken where the draw's lower half is below this."""
    alias: NDArray[np.intp]
    """uint64[bins], the bin that is taken else."""
    first: NDArray[np.uint64]
    """uint64[bins], the first rank of each bin, from 0."""
    width: NDArray[np.uint64]
    """uint64[bins], its ranks."""
    factor: int
    """The bijection's a."""
    offset: int
    """The bijection's c."""

    def pages(self, first: int, count: int) -> NDArray[np.uint64]:
        """Return the pages of `count` writes, from the one numbered `first`."""
        ranks = self._ranks(first, count)
        ranks *= np.uint64(self.factor)
        ranks += np.uint64(self.offset)
        ranks %= np.uint64(self.num_pages)
        return ranks

    def page_of_rank(self, rank: int) -> int:
        """Return the page of a rank, from 0, in the window."""
        return (rank * self.factor + self.offset) % self.num_pages

    def _ranks(self, first: int, count: int) -> NDArray[np.uint64]:
        draw = draws(self.seed, first, count)
        drawn = below(draw, len(self.keep)).astype(np.intp)
        draw &= LOWER
        bins = np.where(draw < self.keep[drawn], drawn, self.alias[drawn])
        if len(self.first) == self.num_pages:
            return self.first[bins]
        within = draws(~self.seed & (1 << 64) - 1, first, count) >> np.uint64(HALF)
        within *= self.width[bins]
        within >>= np.uint64(HALF)
        within += self.first[bins]
        return within


def zipf_table(seed: int, num_pages: int, exponent: float) -> ZipfTable:
    """Make the table of a window of `num_pages`, below 2**31."""
    edges = _edges(num_pages)
    weights = [_weight(low, high, exponent) for low, high in pairwise(edges)]
    keep, alias = _alias_table(weights)
    first = np.array(edges[:-1], np.uint64)
    factor, offset = _bijection(seed, num_pages)
    width = np.array(edges[1:], np.uint64) - first
    return ZipfTable(num_pages, seed, keep, alias, first, width, factor, offset)


def _edges(num_pages: int) -> list[int]:
    edges = list(range(min(num_pages, EXACT_RANKS) + 1))
    while edges[-1] < num_pages:
        edges.append(min(int(edges[-1] * BIN_GROWTH), num_pages))
    return edges


def _weight(low: int, high: int, exponent: float) -> float:
    """Return the weight of ranks low..high-1, counted from 0: rank 0 has weight 1."""
    if high - low == 1:
        return float((low + 1) ** -exponent)
    # The integral over [a, b] as a * a**-s * (e**(u ln(b/a)) - 1) / u, u = 1 - s: sound at s = 1 too.
    a, growth, u = low + 0.5, log((high + 0.5) / (low + 0.5)), 1 - exponent
    return float(a**u) * (expm1(u * growth) / u if u else growth)


def _alias_table(weights: list[float]) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Make Vose's table: each bin keeps a part of its column and leaves the rest to one other."""
    scale = len(weights) / sum(weights)
    columns = [weight * scale for weight in weights]
    keep, alias = [_ONE] * len(columns), list(range(len(columns)))
    small = [at for at, column in enumerate(columns) if column < 1]
    large = [at for at, column in enumerate(columns) if column >= 1]
    while small and large:
        low, high = small.pop(), large[-1]
        keep[low], alias[low] = round(columns[low] * _ONE), high
        columns[high] -= 1 - columns[low]
        if columns[high] < 1:
            small.append(large.pop())
    return np.array(keep, np.uint64), np.array(alias, np.intp)


def _bijection(seed: int, num_pages: int) -> tuple[int, int]:
    factor = mix(seed ^ 0x5A) % num_pages or 1
    while gcd(factor, num_pages) != 1:
        factor = factor % num_pages + 1
    return factor, mix(seed ^ 0xA5) % num_pages
