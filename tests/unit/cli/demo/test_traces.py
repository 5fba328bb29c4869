"""Real programs' writes, and where the guest has them."""

from itertools import pairwise

import numpy as np
import pytest

from hacdbs_sim.cli.demo.traces import MAX_GAP_PAGES, Program, lay_out, populate, written_in
from hacdbs_sim.traces.recording import SHIPPED, builtin

NPAGES = 524_288


def program(name: str) -> Program:
    recording = builtin(name)
    return Program(name, recording, lay_out(recording.vpage))


@pytest.mark.parametrize(
    ("name", "intervals", "distinct", "records"),
    [("xz", 435, 1991, 244_373), ("sqlite", 521, 185, 15_943), ("cc1", 61, 661, 3187)],
)
def test_a_trace_has_what_its_provenance_says(
    name: str, intervals: int, distinct: int, records: int
) -> None:
    trace = program(name)

    written = [trace.written_in(interval) for interval in range(trace.recording.intervals)]

    assert len(written) == intervals
    assert sum(map(len, written)) == records
    assert len(np.unique(np.concatenate(written))) == distinct


def test_each_trace_has_a_test() -> None:
    assert SHIPPED == ("xz", "sqlite", "cc1")


def test_a_trace_starts_anew_after_its_end() -> None:
    trace = program("cc1")

    after_the_end = trace.written_in(trace.recording.intervals + 3)

    assert np.array_equal(after_the_end, trace.written_in(3))


def test_neighbours_stay_neighbours_and_holes_are_cut() -> None:
    vpage = np.array([100, 101, 105, 10**9, 10**9 + 1], dtype=np.uint64)

    layout = lay_out(vpage)

    assert layout.tolist() == [0, 1, 5, 5 + MAX_GAP_PAGES, 6 + MAX_GAP_PAGES]


def test_programs_share_the_vcpus_and_no_page() -> None:
    guest = populate(NPAGES, 4, np.random.default_rng(1))

    programs = [program for programs in guest for program in programs]
    spans = sorted((each.places[0], each.places[-1] + 1) for each in programs)

    assert [len(each) for each in guest] == [3, 3, 2, 2]
    assert sorted(each.name for each in programs) == ["cc1", "sqlite", *["xz"] * 8]
    assert spans[0][0] >= 0
    assert spans[-1][1] <= NPAGES
    assert all(one[1] <= other[0] for one, other in pairwise(spans))
    assert max(each.recording.intervals for each in programs) == 521


def test_the_seed_decides_where_programs_lie() -> None:
    def written(seed: int) -> list[int]:
        guest = populate(NPAGES, 4, np.random.default_rng(seed))
        return [int(page) for page in written_in(guest[2], range(3))]

    assert written(5) == written(5)
    assert written(5) != written(6)
