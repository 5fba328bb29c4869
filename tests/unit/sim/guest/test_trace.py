"""A trace on a window: what each interval writes, where, and when."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model import AddIntervals, Intervals
from hacdbs_sim.model.errors import InvalidWorkloadError
from hacdbs_sim.sim.guest.trace import MAX_RECORDS, TracePlan, plan_trace, state_bytes_of


def trace(*intervals: list[int], **rest: Any) -> AddIntervals:
    lengths = [len(interval) for interval in intervals]
    pages = Intervals(
        starts=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        pages=np.array([page for interval in intervals for page in interval], np.uint32),
    )
    return AddIntervals(slot=0, pages=pages, **{"interval_ns": 10, **rest})


def plan_of(spec: AddIntervals, num_pages: int) -> TracePlan:
    return plan_trace(spec, spec.pages, num_pages)


def interval_of(plan: TracePlan, interval: int) -> list[int]:
    """Pages written while one interval lasts, sorted."""
    first, end = plan.writes_by(interval * 10), plan.writes_by((interval + 1) * 10)
    return sorted(plan.pages_of(first, end - first).tolist())


INTERVALS = st.lists(st.lists(st.integers(0, 30), max_size=8), min_size=1, max_size=6)


@given(INTERVALS, st.integers(1, 4), st.booleans(), st.booleans(), st.integers(0, 3))
def test_each_copy_plays_its_intervals_in_its_part_of_the_window(
    intervals: list[list[int]], copies: int, scale: bool, loop: bool, rest: int
) -> None:
    part = 70
    plan = plan_of(trace(*intervals, copies=copies, scale=scale, loop=loop), copies * part + rest)
    span = max([page for interval in intervals for page in interval], default=0) + 1
    part += rest // copies

    for now in range(2 * len(intervals)):
        expected: list[int] = []
        for copy in range(copies if loop or now < len(intervals) else 0):
            begun = copy * len(intervals) // copies if loop else 0
            expected += [
                copy * part + (page * part // span if scale else page)
                for page in intervals[(now + begun) % len(intervals)]
            ]
        assert interval_of(plan, now) == sorted(expected)


def test_the_writes_of_an_interval_are_spread_evenly_over_it() -> None:
    plan = plan_of(trace([5, 6, 7, 8, 9], [1]), 10)

    assert [plan.writes_by(time) for time in range(0, 21, 2)] == [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 6]


def test_a_trace_that_is_not_looped_ends() -> None:
    plan = plan_of(trace([1, 2], [3], loop=False), 10)

    assert [plan.writes_by(time) for time in (10, 20, 21, 10**15)] == [2, 3, 3, 3]


def test_an_empty_trace_writes_nothing() -> None:
    assert plan_of(trace([], []), 1).writes_by(10**15) == 0


@given(INTERVALS, st.integers(0, 100), st.integers(0, 30))
def test_any_stretch_of_the_writes_is_a_part_of_the_looped_trace(
    intervals: list[list[int]], first: int, count: int
) -> None:
    pages = [page for interval in intervals for page in interval] or [0]
    plan = plan_of(trace(pages), 100)

    looped = [pages[i % len(pages)] for i in range(first, first + count)]

    assert plan.pages_of(first, count).tolist() == looped


def test_it_takes_four_bytes_a_record_as_given_and_for_each_copy() -> None:
    assert state_bytes_of(5, trace([1, 2, 3]).pages) == 4 * 3 * (1 + 5)


@pytest.mark.parametrize(
    ("made", "num_pages", "field"),
    [
        (trace([1], copies=0), 10, "copies"),
        (trace([1], copies=4097), 10**6, "copies"),
        (trace([1], copies=11), 10, "copies"),
        (trace([0] * 5000, copies=4096), 10**6, "copies"),
        (trace(), 10, "intervals"),
        (trace([9]), 9, "num_pages"),
        (trace([9], copies=2), 19, "num_pages"),
    ],
)
def test_a_trace_that_does_not_fit_is_refused_by_name(
    made: AddIntervals, num_pages: int, field: str
) -> None:
    with pytest.raises(InvalidWorkloadError) as refused:
        plan_of(made, num_pages)

    assert refused.value.field == field
    assert str(refused.value.value) in refused.value.detail


def test_an_interval_may_be_a_nanosecond() -> None:
    plan = plan_of(trace([1, 2], [3], interval_ns=1), 4)

    assert [plan.writes_by(ns) for ns in range(4)] == [0, 2, 3, 5]


def test_as_many_records_as_allowed_are_taken() -> None:
    plan = plan_of(trace([0] * 4096, copies=4096), 4096)

    assert len(plan.pages) == MAX_RECORDS


def test_a_short_trace_repeats_for_many_writes_at_once() -> None:
    plan = plan_of(trace([3, 1], [4]), 10)

    pages = plan.pages_of(first=4, count=1 << 20)

    assert pages.size == 1 << 20
    assert pages[:5].tolist() == [1, 4, 3, 1, 4]
    assert np.array_equal(pages[3:], pages[:-3])
