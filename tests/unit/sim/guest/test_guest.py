"""Runs of the guest: what the workloads of a machine write, and what that costs it."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hacdbs_sim.model import (
    AccessOutcome,
    AddHotSet,
    AddIntervals,
    AddMoving,
    AddSequential,
    AddUniform,
    AddWorkload,
    AddZipf,
    AdvanceClock,
    Burst,
    Clock,
    CostModel,
    DeleteMemslot,
    DeleteWorkload,
    Footprint,
    Gfns,
    GuestRun,
    GuestWrite,
    HostWrite,
    Intervals,
    RunGuest,
    SetMemslot,
    TimedFields,
    TrackVersions,
    UniformInfo,
    VmConfig,
    Writer,
    known,
)
from hacdbs_sim.model.errors import (
    InvalidArgumentError,
    InvalidWorkloadError,
    KvmError,
    NoSuchMemslotError,
    NoSuchVcpuError,
    NoSuchWorkloadError,
    TooManyWritesError,
)
from hacdbs_sim.model.units import KIB
from hacdbs_sim.sim.guest.guest import MAX_WRITES_PER_RUN, WRITES_PER_SLICE
from hacdbs_sim.sim.guest.patterns import pages_of
from tests.support.machine import Machine

PAGE = 4 * KIB
BASE = 1 << 18
NPAGES = 4096
FREE = CostModel(translation_fault_ps=0, permission_fault_ps=0, mmio_exit_ps=0)
MS = 10**6
PAGES = Intervals(starts=np.array([0, 3, 3, 5]), pages=np.array([0, 1, 9, 2, 0], np.uint32))
Pattern: TypeAlias = Callable[..., AddWorkload]
PATTERNS: list[Pattern] = [
    AddSequential,
    AddUniform,
    partial(AddHotSet, hot_fraction=0.1, hot_share=0.8),
    partial(AddZipf, exponent=1.2),
    partial(AddMoving, set_pages=50, move_every_writes=100, step_pages=3),
]


def machine(*specs: AddWorkload, npages: int = NPAGES, **config: Any) -> Machine:
    made = Machine(VmConfig(**{"seed": 7, "vcpus": 2, **config}))
    made.perform(
        SetMemslot(slot=0, guest_phys_addr=BASE * PAGE, memory_size=npages * PAGE, flags=1)
    )
    for spec in specs:
        made.perform(spec)
    return made


def dirty(made: Machine, slot: int = 0) -> NDArray[np.uint64]:
    bitmap = made.peek_dirty_log(slot).bitmap
    assert bitmap is not None
    return bitmap.words


def run(made: Machine, duration_ns: int, throttle_percent: int = 0) -> GuestRun:
    return made.perform(RunGuest(duration_ns=duration_ns, throttle_percent=throttle_percent))


def state(made: Machine) -> Any:
    return (
        dirty(made).tobytes(),
        made.clock(),
        made.workloads(),
        made.counters(),
        made.stage2(BASE, NPAGES, NPAGES),
    )


def met(done: GuestRun) -> AccessOutcome:
    """What the writes of a run met."""
    return AccessOutcome(**{each.name: getattr(done, each.name) for each in fields(AccessOutcome)})


def of_pattern(pattern: Pattern, **rest: Any) -> AddWorkload:
    return pattern(slot=0, **rest)


SPECS = st.builds(
    of_pattern,
    st.sampled_from(PATTERNS),
    writes_per_second=st.integers(1, 2_000_000),
    first_page=st.integers(0, 100),
    num_pages=st.integers(60, 3000),
    burst=st.none()
    | st.builds(Burst, on_ns=st.integers(1, 10 * MS), off_ns=st.integers(0, 10 * MS)),
    writer=st.sampled_from(Writer),
)


@given(
    st.lists(SPECS, min_size=1, max_size=3),
    st.lists(st.integers(1, 5 * MS), min_size=1, max_size=4),
    st.integers(0, 99),
)
def test_cutting_a_run_changes_nothing_where_faults_are_free(
    specs: list[AddWorkload], parts: list[int], throttle_percent: int
) -> None:
    cut, whole = machine(*specs, costs=FREE), machine(*specs, costs=FREE)

    for part in parts:
        run(cut, part, throttle_percent)
    run(whole, sum(parts), throttle_percent)

    cut_state, whole_state = state(cut), state(whole)
    assert cut_state[:3] == whole_state[:3]
    assert cut_state[4] == whole_state[4]


@given(st.lists(SPECS, min_size=1, max_size=3), st.integers(1, 10 * MS), st.integers(0, 99))
def test_the_same_seed_makes_the_same_machine(
    specs: list[AddWorkload], duration_ns: int, throttle_percent: int
) -> None:
    one, other = machine(*specs), machine(*specs)

    assert run(one, duration_ns, throttle_percent) == run(other, duration_ns, throttle_percent)
    assert state(one) == state(other)


def test_another_seed_of_the_machine_makes_other_writes() -> None:
    spec = AddUniform(slot=0, writes_per_second=100_000)
    one, other = machine(spec), machine(spec, seed=8)

    run(one, MS)
    run(other, MS)

    assert dirty(one).tobytes() != dirty(other).tobytes()


@given(SPECS, st.integers(1, 10 * MS))
def test_a_run_has_the_effect_of_its_writes_batch_by_batch(
    spec: AddWorkload, duration_ns: int
) -> None:
    ran, replayed = machine(spec, costs=FREE), machine()

    done = run(ran, duration_ns)

    (view,) = ran.workloads()
    assert view.writes == done.writes == done.pages
    assert isinstance(view, TimedFields)
    assert view.seed is not None
    assert view.num_pages is not None
    pages = pages_of(view, view.seed, view.num_pages)(0, view.writes)
    gfns = Gfns(pages + np.uint64(BASE + spec.first_page))
    write = GuestWrite(pages=gfns) if spec.writer is Writer.GUEST else HostWrite(pages=gfns)
    outcome = replayed.perform(write)
    assert dirty(ran).tobytes() == dirty(replayed).tobytes()
    assert outcome.newly_dirty == done.newly_dirty
    assert ran.stage2(BASE, NPAGES, NPAGES) == replayed.stage2(BASE, NPAGES, NPAGES)
    assert ran.counters() == replayed.counters()


def test_nothing_is_written_outside_the_window() -> None:
    specs = [
        of_pattern(pattern, writes_per_second=10**6, first_page=64 * number, num_pages=64)
        for number, pattern in enumerate(PATTERNS, 1)
    ]

    for number, spec in enumerate(specs, 1):
        made = machine(spec)
        run(made, 10 * MS)
        assert dirty(made)[number] != 0
        assert np.flatnonzero(dirty(made)).tolist() == [number]


def test_a_trace_dirties_interval_after_interval() -> None:
    made = machine(AddIntervals(slot=0, pages=PAGES, interval_ns=MS, first_page=10), costs=FREE)

    found = []
    for _ in range(4):
        run(made, MS)
        found.append(int(dirty(made)[0]))

    intervals = [1 << 10 | 1 << 11 | 1 << 19, 0, 1 << 12 | 1 << 10, 0]
    assert found == [
        intervals[0],
        intervals[0],
        intervals[0] | intervals[2],
        intervals[0] | intervals[2],
    ]
    assert made.workloads()[0].writes == 8


def test_faults_cost_the_guest_time_from_the_next_slice_on() -> None:
    costs = CostModel(translation_fault_ps=1_000_000)
    made = machine(AddSequential(slot=0, writes_per_second=10**6), costs=costs)

    done = run(made, 100_000)  # too few writes for a second slice: 100 faults of 1 us on 2 vCPUs
    after = run(made, 100_000)

    assert (done.slices, done.writes, done.translation_faults) == (1, 100, 100)
    assert (done.guest_ns, done.stalled_ns) == (100_000, 0)
    assert done.clock.debt_ns == 50_000
    assert (after.guest_ns, after.stalled_ns, after.writes) == (50_000, 50_000, 50)
    assert after.clock == Clock(
        now_ns=200_000, guest_ns=150_000, stalled_ns=50_000, throttled_ns=0, debt_ns=25_000
    )


def test_a_long_run_pays_within_itself() -> None:
    spec = AddSequential(slot=0, writes_per_second=10**6)
    made = machine(spec, npages=1 << 20, costs=CostModel(translation_fault_ps=1_000_000))

    done = run(made, 100 * MS)

    assert done.slices == 16
    assert 0 < done.stalled_ns < 50 * MS
    assert done.guest_ns + done.stalled_ns == 100 * MS
    assert done.writes == done.guest_ns // 1000


def test_a_run_has_a_slice_for_every_so_many_writes_and_one_for_fewer() -> None:
    rate = WRITES_PER_SLICE * 1000
    made = machine(AddUniform(slot=0, writes_per_second=rate), costs=FREE)

    assert [run(made, ns).slices for ns in (1, MS - 2, MS, 3 * MS, 200 * MS)] == [1, 1, 2, 4, 16]


@pytest.mark.parametrize("writer", list(Writer))
def test_a_workload_begins_in_the_time_of_its_writer(writer: Writer) -> None:
    made = machine()
    made.perform(
        RunGuest(duration_ns=10 * MS, throttle_percent=50)
    )  # the guest has run for half of it
    made.perform(AddUniform(slot=0, writes_per_second=1_000_000, num_pages=9, writer=writer))

    assert made.perform(RunGuest(duration_ns=MS)).writes == 1_000


def test_the_faults_of_a_run_are_added_up() -> None:
    made = Machine(VmConfig(costs=FREE))
    made.perform(SetMemslot(slot=0, guest_phys_addr=1 << 30, memory_size=4 << 20, backing=2 << 20))
    made.perform(SetMemslot(slot=1, guest_phys_addr=1 << 31, memory_size=NPAGES * PAGE, flags=1))
    for slot in (0, 1):
        made.perform(AddSequential(slot=slot, writes_per_second=MS))
    mapped = met(made.perform(RunGuest(duration_ns=MS)))
    made.perform(
        SetMemslot(slot=0, guest_phys_addr=1 << 30, memory_size=4 << 20, flags=1, backing=2 << 20)
    )
    for slot in (0, 1):
        made.perform(AddSequential(slot=slot, writes_per_second=MS))

    split = made.perform(RunGuest(duration_ns=MS))

    # 1,000 pages each in turn: two blocks, then as many pages; the second time both workloads of a slot
    assert mapped == AccessOutcome(
        pages=2_000,
        newly_dirty=1_000,
        translation_faults=1_002,
        permission_faults=0,
        mmio_exits=0,
        block_splits=0,
        blocks_mapped=2,
    )
    assert (split.pages, split.block_splits, split.blocks_mapped) == (4_000, 2, 0)
    assert known(split.newly_dirty) == made.counters()["newly_dirty"] - known(mapped.newly_dirty)
    assert split.newly_dirty == 1_024 + 1_000


def test_throttling_slows_the_guest_and_not_the_host() -> None:
    guest = AddSequential(slot=0, writes_per_second=10**6, num_pages=1000)
    host = AddSequential(slot=0, writes_per_second=10**6, first_page=1000, writer=Writer.HOST)
    made = machine(guest, host, costs=FREE)

    done = run(made, MS, 75)

    assert [view.writes for view in made.workloads()] == [250, 1000]
    assert (done.guest_ns, done.throttled_ns) == (250_000, 750_000)


def test_host_writes_cost_the_guest_nothing() -> None:
    made = machine(AddSequential(slot=0, writes_per_second=10**6, writer=Writer.HOST))

    done = run(made, MS)

    assert met(done) == AccessOutcome(pages=1000, newly_dirty=1000)
    assert done.clock.debt_ns == 0
    assert made.counters()["host_writes"] == 1000


def test_a_workload_begins_when_it_is_added() -> None:
    made = machine(costs=FREE)
    run(made, 5 * MS)
    made.perform(AddSequential(slot=0, writes_per_second=10**6))
    made.perform(AddSequential(slot=0, writes_per_second=10**6, writer=Writer.HOST))

    run(made, MS)

    assert [view.writes for view in made.workloads()] == [1000, 1000]


def test_while_the_guest_is_paused_nothing_writes() -> None:
    made = machine(AddSequential(slot=0, writes_per_second=10**6))

    clock = made.perform(AdvanceClock(duration_ns=5 * MS))

    assert clock == made.clock() == Clock(now_ns=5 * MS)
    assert not dirty(made).any()


def test_writes_to_a_slot_that_has_gone_are_skipped_and_counted() -> None:
    made = machine(AddSequential(slot=0, writes_per_second=10**6), costs=FREE)
    made.perform(DeleteMemslot(slot=0))

    done = run(made, MS)

    assert (done.writes, done.skipped, met(done)) == (1000, 1000, AccessOutcome())
    assert (made.workloads()[0].writes, made.workloads()[0].skipped) == (1000, 1000)


def test_writes_past_the_end_of_a_slot_that_has_shrunk_are_skipped_and_counted() -> None:
    made = machine(AddSequential(slot=0, writes_per_second=10**6, first_page=10), costs=FREE)
    made.perform(DeleteMemslot(slot=0))
    made.perform(SetMemslot(slot=0, guest_phys_addr=BASE * PAGE, memory_size=64 * PAGE, flags=1))

    done = run(made, MS)

    assert (done.writes, done.skipped, done.pages) == (1000, 946, 54)
    assert int(dirty(made)[0]) == (1 << 64) - (1 << 10)


def test_a_readonly_slot_answers_each_write_with_an_exit_that_costs_time() -> None:
    made = machine(costs=CostModel(mmio_exit_ps=4_000))
    made.perform(SetMemslot(slot=1, guest_phys_addr=0, memory_size=16 * PAGE, flags=2))
    made.perform(AddUniform(slot=1, writes_per_second=10**6))

    done = run(made, MS)

    assert done.mmio_exits == 1000
    assert done.clock.debt_ns == 2000


def test_writes_of_workloads_have_versions() -> None:
    made = machine(AddSequential(slot=0, writes_per_second=10**6), costs=FREE)
    made.perform(TrackVersions(enabled=True))

    run(made, 3000)
    run(made, 1000)

    versions = made.versions(0)
    assert versions is not None
    assert versions[:5].tolist() == [1, 1, 1, 2, 0]


def test_workloads_are_numbered_looked_at_and_taken_off() -> None:
    made = machine(AddUniform(slot=0, writes_per_second=5), AddZipf(slot=0, writes_per_second=6))

    removed = made.perform(DeleteWorkload(workload_id="w1"))
    added = made.perform(AddUniform(slot=0, writes_per_second=7))

    assert isinstance(removed, UniformInfo)
    assert removed.writes_per_second == 5
    assert added.workload_id == "w3"
    assert [view.workload_id for view in made.workloads()] == ["w2", "w3"]
    assert made.workload("w3") == added
    with pytest.raises(NoSuchWorkloadError):
        made.workload("w1")


def test_traces_count_in_the_footprint() -> None:
    made = machine()
    before = made.footprint
    action = AddIntervals(slot=0, pages=PAGES, interval_ns=MS)
    wanted = made.estimate(action)

    made.perform(action)

    assert made.footprint == Footprint(pages=wanted.pages, state_bytes=wanted.state_bytes)
    assert wanted.state_bytes - before.state_bytes == 40
    made.perform(DeleteWorkload(workload_id="w1"))
    assert made.footprint == before


def huge() -> AddWorkload:
    return AddUniform(slot=0, writes_per_second=10**9)


@pytest.mark.parametrize(
    ("action", "error", "field", "value"),
    [
        (RunGuest(duration_ns=0), InvalidArgumentError, "duration_ns", 0),
        (RunGuest(duration_ns=10**15 + 1), InvalidArgumentError, "duration_ns", 10**15 + 1),
        (
            RunGuest(duration_ns=1, throttle_percent=100),
            InvalidArgumentError,
            "throttle_percent",
            100,
        ),
        (
            RunGuest(duration_ns=1, throttle_percent=-1),
            InvalidArgumentError,
            "throttle_percent",
            -1,
        ),
        (AdvanceClock(duration_ns=0), InvalidArgumentError, "duration_ns", 0),
        (AdvanceClock(duration_ns=10**15 + 1), InvalidArgumentError, "duration_ns", 10**15 + 1),
        (
            RunGuest(duration_ns=MAX_WRITES_PER_RUN + 1),
            TooManyWritesError,
            "duration_ns",
            MAX_WRITES_PER_RUN + 1,
        ),
        (DeleteWorkload(workload_id="w9"), NoSuchWorkloadError, "workload_id", "w9"),
        (AddUniform(slot=4, writes_per_second=1), NoSuchMemslotError, "slot", 4),
        (AddUniform(slot=0, writes_per_second=1, vcpu=2), NoSuchVcpuError, "vcpu", 2),
        (
            AddMoving(slot=0, writes_per_second=1, set_pages=NPAGES + 1, move_every_writes=1),
            InvalidWorkloadError,
            "set_pages",
            NPAGES + 1,
        ),
    ],
)
def test_a_refusal_names_the_field_and_changes_nothing(
    action: Any, error: type[KvmError], field: str, value: object
) -> None:
    made = machine(huge())
    before = state(made)

    with pytest.raises(error) as refused:
        made.perform(action)

    assert (refused.value.field, refused.value.value) == (field, value)
    assert state(made) == before
    assert made.perform(huge()).workload_id == "w2"


def test_a_run_of_too_many_writes_is_refused_with_their_number() -> None:
    made = machine(AddUniform(slot=0, writes_per_second=1_000_000_000))
    too_long_ns = MAX_WRITES_PER_RUN + 7

    with pytest.raises(TooManyWritesError) as refused:
        made.perform(RunGuest(duration_ns=too_long_ns))

    assert str(refused.value) == (
        f"duration_ns must ask for at most {MAX_WRITES_PER_RUN} writes, {too_long_ns} asks "
        f"for up to {too_long_ns}: run for less at a time"
    )


def test_a_run_of_as_many_writes_as_allowed_is_counted_before_it_begins() -> None:
    made = machine(huge(), AddUniform(slot=0, writes_per_second=10**9, writer=Writer.HOST))

    assert made.writes_of_run(RunGuest(duration_ns=MAX_WRITES_PER_RUN // 2)) == MAX_WRITES_PER_RUN
    assert made.writes_of_run(RunGuest(duration_ns=1000, throttle_percent=50)) == 1500


def test_the_clock_has_an_end() -> None:
    made = machine()
    for _ in range(9):
        made.perform(AdvanceClock(duration_ns=10**15))
    left = (1 << 53) - 1 - 9 * 10**15

    for action in (AdvanceClock(duration_ns=left + 1), RunGuest(duration_ns=left + 1)):
        with pytest.raises(InvalidArgumentError, match=rf"duration_ns must be 1..{left}, not"):
            made.perform(action)

    assert made.perform(AdvanceClock(duration_ns=left)).now_ns == (1 << 53) - 1
