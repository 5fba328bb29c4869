"""When a workload writes, and what it is refused for."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model import (
    AddIntervals,
    AddReplay,
    AddSequential,
    AddUniform,
    AddWorkload,
    AddZipf,
    Burst,
    Intervals,
    TraceName,
)
from hacdbs_sim.model.errors import InvalidWorkloadError
from hacdbs_sim.sim.guest.workload import Workload, no_recordings, recording_of, resolved
from tests.support import scalar_workloads as scalar

BURSTS = st.builds(Burst, on_ns=st.integers(1, 5000), off_ns=st.integers(0, 5000))
PAGES = Intervals(starts=np.array([0, 2]), pages=np.array([0, 1], np.uint32))


def added(spec: AddWorkload, *, npages: int = 100, began_ns: int = 0) -> Workload:
    recording = recording_of(spec, no_recordings)
    return Workload(1, resolved(spec, npages=npages, seed=9), recording, began_ns)


def made(*, began_ns: int = 0, **fields: Any) -> Workload:
    spec = AddSequential(slot=0, **{"writes_per_second": 1000, **fields})
    return added(spec, began_ns=began_ns)


@given(st.integers(1, 10**9), BURSTS | st.none(), st.integers(0, 100_000), st.integers(0, 10**6))
def test_it_has_made_as_many_writes_as_its_time_on_asks_for(
    rate: int, burst: Burst | None, time_ns: int, began_ns: int
) -> None:
    workload = made(writes_per_second=rate, burst=burst, began_ns=began_ns)

    assert workload.writes_by(began_ns + time_ns) == scalar.writes_by(time_ns, rate, burst)


def test_a_burst_writes_first_and_then_rests() -> None:
    workload = made(writes_per_second=10**9, burst=Burst(on_ns=3, off_ns=2))

    assert [workload.writes_by(t) for t in range(11)] == [0, 1, 2, 3, 3, 3, 4, 5, 6, 6, 6]


def test_a_trace_rests_with_the_burst_and_goes_on_after_it() -> None:
    workload = added(
        AddIntervals(slot=0, pages=PAGES, interval_ns=100, burst=Burst(on_ns=50, off_ns=1000))
    )

    assert [workload.writes_by(t) for t in (50, 1049, 1100, 2149)] == [1, 1, 2, 2]


def test_open_fields_are_filled_in() -> None:
    whole = resolved(AddUniform(slot=3, writes_per_second=5, first_page=10), npages=64, seed=77)

    assert (whole.num_pages, whole.seed) == (54, 77)


def test_given_fields_are_kept() -> None:
    given_spec = AddUniform(slot=3, writes_per_second=5, first_page=10, num_pages=2, seed=1)

    assert resolved(given_spec, npages=64, seed=77) == given_spec


def test_only_a_trace_takes_bytes_of_its_own() -> None:
    assert added(AddZipf(slot=0, writes_per_second=1)).state_bytes == 0
    assert added(AddIntervals(slot=0, pages=PAGES, interval_ns=100)).state_bytes == 16


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        ({"first_page": 100}, "first_page", 100),
        ({"first_page": -1}, "first_page", -1),
        ({"num_pages": 0}, "num_pages", 0),
        ({"first_page": 60, "num_pages": 41}, "num_pages", 41),
    ],
)
def test_a_window_outside_the_slot_is_refused_by_field(
    fields: dict[str, Any], field: str, value: int
) -> None:
    with pytest.raises(InvalidWorkloadError, match=f"^{field} must be ") as refused:
        made(**fields)

    assert (refused.value.field, refused.value.value) == (field, value)
    assert refused.value.bound is not None


def test_a_machine_that_was_given_no_recordings_refuses_each_name() -> None:
    with pytest.raises(InvalidWorkloadError, match=r"^trace must be a recording") as refused:
        recording_of(AddReplay(slot=0, trace="xz", interval_ns=100), no_recordings)

    assert (refused.value.field, refused.value.bound, refused.value.value) == (
        "trace",
        "none",
        "xz",
    )


def test_a_replay_writes_the_recorded_pages() -> None:
    spec = AddReplay(slot=0, trace="xz", interval_ns=100)
    asked = []

    def recordings(name: TraceName) -> Intervals:
        asked.append(name)
        return PAGES

    assert recording_of(spec, recordings) is PAGES
    assert asked == ["xz"]
    replayed = Workload(1, resolved(spec, npages=100, seed=9), PAGES, 0)
    written = added(AddIntervals(slot=0, pages=PAGES, interval_ns=100))
    assert replayed.pages_of(0, 5).tolist() == written.pages_of(0, 5).tolist() == [0, 1, 0, 1, 0]
    assert [replayed.writes_by(t) for t in (50, 100)] == [written.writes_by(t) for t in (50, 100)]
