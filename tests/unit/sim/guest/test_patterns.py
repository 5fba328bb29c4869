"""Which pages a workload writes, against the formulas one write at a time, and by their shares."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hacdbs_sim.model import HotSet, Moving, Sequential, TimedFields, Uniform, Zipf
from hacdbs_sim.model.draws import derived_seed, draws
from hacdbs_sim.model.errors import InvalidWorkloadError
from hacdbs_sim.sim.guest import patterns
from hacdbs_sim.sim.guest.zipf import ZipfTable, zipf_table
from tests.support import scalar_workloads as scalar

SEEDS = st.integers(0, (1 << 64) - 1)
WINDOWS = st.integers(1, 1 << 31)
FIRSTS = st.integers(0, 1 << 48)
SHARES = st.floats(0, 1)


def pages_of(
    pattern: TimedFields, seed: int, num_pages: int, first: int, count: int
) -> NDArray[np.uint64]:
    return patterns.pages_of(pattern, seed, num_pages)(first, count)


UNIFORM = Uniform(slot=0, writes_per_second=1)


def hot_set(hot_fraction: float, hot_share: float) -> HotSet:
    return HotSet(slot=0, writes_per_second=1, hot_fraction=hot_fraction, hot_share=hot_share)


def moving(set_pages: int, move_every_writes: int, step_pages: int = 1) -> Moving:
    return Moving(
        slot=0,
        writes_per_second=1,
        set_pages=set_pages,
        move_every_writes=move_every_writes,
        step_pages=step_pages,
    )


def movings(num_pages: int) -> st.SearchStrategy[Moving]:
    pages = st.integers(1, num_pages)
    return st.builds(moving, pages, st.integers(1, 1000), pages)


@given(st.data(), SEEDS, WINDOWS, FIRSTS)
def test_each_write_goes_where_the_formula_says(
    data: st.DataObject, seed: int, num_pages: int, first: int
) -> None:
    pattern = data.draw(
        st.one_of(
            st.just(Sequential(slot=0, writes_per_second=1)),
            st.just(UNIFORM),
            st.builds(hot_set, SHARES, SHARES),
            movings(num_pages),
        )
    )

    written = pages_of(pattern, seed, num_pages, first, 40)

    assert written.dtype == np.uint64
    assert written.tolist() == [
        scalar.page_of(pattern, seed, num_pages, i) for i in range(first, first + 40)
    ]


@given(
    st.sampled_from(
        [
            Sequential(slot=0, writes_per_second=1),
            UNIFORM,
            hot_set(0.2, 0.7),
            Zipf(slot=0, writes_per_second=1, exponent=0.9),
            moving(3, 7, 2),
        ]
    ),
    SEEDS,
    st.integers(3, 1 << 31),
    FIRSTS,
    st.lists(st.integers(0, 50), min_size=1, max_size=5),
)
def test_cutting_a_stretch_of_writes_changes_none_of_them(
    pattern: TimedFields, seed: int, num_pages: int, first: int, parts: list[int]
) -> None:
    ends = np.cumsum([first, *parts]).tolist()

    whole = pages_of(pattern, seed, num_pages, first, sum(parts))

    cut = [pages_of(pattern, seed, num_pages, start, end - start) for start, end in pairwise(ends)]
    assert np.concatenate(cut).tolist() == whole.tolist()
    assert (whole < num_pages).all()


def test_another_seed_makes_other_writes() -> None:
    drawn = {pages_of(UNIFORM, seed, 1 << 20, 0, 10).tobytes() for seed in range(100)}

    assert len(drawn) == 100


def test_the_workloads_of_a_machine_have_seeds_of_their_own_that_json_carries() -> None:
    seeds = {derived_seed(machine, ordinal) for machine in range(20) for ordinal in range(1, 20)}

    assert len(seeds) == 20 * 19
    assert max(seeds) < 1 << 53


def test_the_seeds_of_workloads_never_change() -> None:
    assert [derived_seed(7, ordinal) for ordinal in (1, 2, 3)] == [
        4722888375107927,
        2721426474818910,
        8475740553189382,
    ]


def excess(counts: NDArray[np.int64], weights: NDArray[np.float64]) -> float:
    """Chi square of counts, less its mean, in its standard deviations."""
    expected = weights / weights.sum() * counts.sum()
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    freedom = len(counts) - 1
    return (chi2 - freedom) / float(np.sqrt(2 * freedom))


def test_draws_fill_all_cells_alike_in_both_halves() -> None:
    drawn = draws(7, 0, 1 << 20)

    for half in (drawn >> np.uint64(32), drawn & np.uint64(0xFFFFFFFF)):
        counts = np.bincount((half >> np.uint64(22)).astype(np.int64), minlength=1024)
        assert abs(excess(counts, np.ones(1024))) < 4


def test_uniform_writes_every_page_alike() -> None:
    counts = np.bincount(pages_of(UNIFORM, 3, 1000, 0, 1 << 20).astype(np.int64), minlength=1000)

    assert abs(excess(counts, np.ones(1000))) < 4


def test_a_hot_set_gets_its_share_of_the_writes() -> None:
    counts = np.bincount(
        pages_of(hot_set(0.05, 0.9), 5, 1000, 0, 1 << 20).astype(np.int64), minlength=1000
    )

    weights = np.r_[np.full(50, 0.9 / 50), np.full(950, 0.1 / 950)]
    assert abs(excess(counts, weights)) < 4


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.2, 3.0])
@pytest.mark.parametrize("num_pages", [10, 1024, 100_000])
def test_zipf_writes_each_rank_by_its_weight(num_pages: int, exponent: float) -> None:
    table = zipf_table(11, num_pages, exponent)
    ranks = np.arange(num_pages)
    rank_of = np.empty(num_pages, np.int64)
    rank_of[[table.page_of_rank(rank) for rank in range(num_pages)]] = ranks

    drawn = rank_of[table.pages(0, 1 << 20).astype(np.int64)]

    weights = (ranks + 1.0) ** -exponent
    edges = np.unique(np.geomspace(1, num_pages + 1, 40).astype(np.int64)) - 1
    # Groups of too few are joined: chi square wants some in each.
    starts = [edge for edge in edges[:-1] if weights[edge:].sum() / weights.sum() > 1e-3]
    counts = np.add.reduceat(np.bincount(drawn, minlength=num_pages), starts)
    assert abs(excess(counts, np.add.reduceat(weights, starts))) < 4


def chances(table: ZipfTable) -> NDArray[np.float64]:
    """The chance of each bin, from the thresholds of the table."""
    keep = table.keep.astype(np.float64) / (1 << 32)
    chance = keep.copy()
    np.add.at(chance, table.alias, 1 - keep)
    return chance / len(keep)


@given(st.integers(1, 200_000), st.floats(0.01, 10))
def test_the_table_of_zipf_has_the_weight_of_each_bin(num_pages: int, exponent: float) -> None:
    table = zipf_table(1, num_pages, exponent)

    weights = np.arange(1, num_pages + 1, dtype=np.float64) ** -exponent
    expected = np.add.reduceat(weights, table.first.astype(np.intp)) / weights.sum()
    assert chances(table) == pytest.approx(expected, rel=1e-6, abs=2**-32)


@given(st.integers(1, (1 << 31) - 1))
def test_the_bins_of_zipf_cover_all_ranks_and_grow_by_two_percent(num_pages: int) -> None:
    table = zipf_table(1, num_pages, 1.0)
    end = table.first + table.width

    assert (table.first[0], end[-1]) == (0, num_pages)
    assert (table.first[1:] == end[:-1]).all()
    assert (table.width[:1024] == 1).all()
    assert (table.width[1024:] <= table.first[1024:] * 0.02).all()
    assert len(table.first) < 1024 + 750


@pytest.mark.parametrize("pattern", [hot_set(1.0, 0.3), hot_set(0.9999, 0.3)])
def test_where_every_page_is_hot_all_are_alike(pattern: HotSet) -> None:
    assert pages_of(pattern, 3, 100, 5, 50).tolist() == pages_of(UNIFORM, 3, 100, 5, 50).tolist()


@given(SEEDS, st.integers(1, 5000))
def test_the_ranks_of_zipf_are_scattered_one_to_a_page(seed: int, num_pages: int) -> None:
    table = zipf_table(seed, num_pages, 1.0)

    assert {table.page_of_rank(rank) for rank in range(num_pages)} == set(range(num_pages))


def test_the_hottest_pages_of_zipf_do_not_lie_together() -> None:
    table = zipf_table(2, 1 << 20, 1.0)
    hottest = sorted(table.page_of_rank(rank) for rank in range(100))

    assert sum(b - a == 1 for a, b in pairwise(hottest)) < 5


@pytest.mark.parametrize(
    ("pattern", "field"),
    [
        (moving(101, 1), "set_pages"),
        (moving(1, 1, 101), "step_pages"),
    ],
)
def test_an_impossible_pattern_is_refused_by_field(pattern: Moving, field: str) -> None:
    with pytest.raises(InvalidWorkloadError, match=rf"^{field} must be ") as refused:
        pages_of(pattern, 0, 100, 0, 1)

    assert refused.value.field == field
    assert refused.value.bound is not None
