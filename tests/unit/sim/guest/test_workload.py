"""When a workload writes, and what it is refused for."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.sim.actions import Trace
from hacdbs_sim.model.errors import InvalidWorkloadError
from hacdbs_sim.sim.guest.workload import Workload
from tests.support import scalar_workloads as scalar
from hacdbs_sim.model import AddUniform, AddZipf, Burst, Sequential, Zipf

BURSTS = st.builds(Burst, st.integers(1, 5000), st.integers(0, 5000))
TRACE = Trace(np.array([0, 2]), np.array([0, 1], np.uint32), interval_ns=100)


def made(*, npages: int = 100, began_ns: int = 0, **fields: Any) -> Workload:
    spec = AddUniform(slot=0, **{"pattern": Sequential(), "writes_per_second": 1000, **fields})
    return Workload(1, spec.resolved(npages=npages, seed=9), began_ns)


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
    workload = made(pattern=TRACE, writes_per_second=None, burst=Burst(on_ns=50, off_ns=1000))

    assert [workload.writes_by(t) for t in (50, 1049, 1100, 2149)] == [1, 1, 2, 2]


def test_what_is_left_open_is_filled_in() -> None:
    resolved = AddUniform(slot=3, writes_per_second=5, first_page=10).resolved(npages=64, seed=77)

    assert (resolved.num_pages, resolved.seed) == (54, 77)


def test_what_is_given_stays() -> None:
    given_spec = AddUniform(slot=3, writes_per_second=5, first_page=10, num_pages=2, seed=1)

    assert given_spec.resolved(npages=64, seed=77) == given_spec


def test_only_a_trace_takes_bytes_of_its_own() -> None:
    assert AddZipf(slot=0, writes_per_second=1).state_bytes == 0
    assert WorkloadSpec(slot=0, pattern=TRACE).state_bytes == 16


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        ({"writes_per_second": 0}, "writes_per_second", 0),
        ({"writes_per_second": 10**9 + 1}, "writes_per_second", 10**9 + 1),
        ({"writes_per_second": None}, "writes_per_second", None),
        ({"pattern": TRACE}, "writes_per_second", 1000),
        ({"first_page": 100}, "first_page", 100),
        ({"first_page": -1}, "first_page", -1),
        ({"num_pages": 0}, "num_pages", 0),
        ({"first_page": 60, "num_pages": 41}, "num_pages", 41),
        ({"seed": -1}, "seed", -1),
        ({"seed": 1 << 64}, "seed", 1 << 64),
        ({"burst": Burst(on_ns=0, off_ns=1)}, "on_ns", 0),
        ({"burst": Burst(on_ns=1, off_ns=-1)}, "off_ns", -1),
        ({"burst": Burst(on_ns=10**15 + 1, off_ns=1)}, "on_ns", 10**15 + 1),
        ({"burst": Burst(on_ns=1, off_ns=10**15 + 1)}, "off_ns", 10**15 + 1),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    fields: dict[str, Any], field: str, value: int | None
) -> None:
    with pytest.raises(InvalidWorkloadError, match=f"^{field} must be ") as refused:
        made(**fields)

    assert (refused.value.field, refused.value.value) == (field, value)
    assert refused.value.bound is not None
