"""The guest's time in steps: a short one where the guest writes much, whatever writes."""

import numpy as np
import pytest

from hacdbs_sim.model import AddIntervals, AddSequential, AddWorkload, Intervals, Writer
from hacdbs_sim.vmm.running import run_guest
from tests.support.building import machine

MOST_WRITES = 1 << 21

FAST_TRACE = AddIntervals(
    slot=0,
    writer=Writer.HOST,
    interval_ns=1,
    pages=Intervals(starts=np.array([0, 4], np.int64), pages=np.array([0, 9, 2, 7], np.uint32)),
)


@pytest.mark.parametrize(
    "workload",
    [AddSequential(slot=0, writer=Writer.HOST, writes_per_second=10**9), FAST_TRACE],
    ids=["sequential", "trace"],
)
def test_a_step_is_as_short_as_its_writes_require(workload: AddWorkload) -> None:
    made = machine(512)
    made.perform(workload)

    run, ran_ns = run_guest(made, 10**12)

    assert MOST_WRITES // 2 < run.writes <= MOST_WRITES
    assert 0 < ran_ns < 10**12
    assert run.clock.now_ns == ran_ns


def test_a_step_lasts_as_long_as_requested_where_little_is_written() -> None:
    made = machine(512)
    made.perform(AddSequential(slot=0, writer=Writer.HOST, writes_per_second=10))

    run, ran_ns = run_guest(made, 10**12)

    assert (run.writes, ran_ns) == (10_000, 10**12)


def test_a_step_lasts_one_nanosecond_at_least() -> None:
    crowded = Intervals(
        starts=np.array([0, 3_000_000], np.int64), pages=np.zeros(3_000_000, np.uint32)
    )
    made = machine(512)
    made.perform(AddIntervals(slot=0, interval_ns=1, pages=crowded))

    run, ran_ns = run_guest(made, 10**12)

    assert (run.writes, ran_ns) == (3_000_000, 1)
