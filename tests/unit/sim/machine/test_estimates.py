"""Estimates separate the actions that take more than a millisecond."""

import numpy as np
import pytest

from hacdbs_sim.model import (
    Action,
    AddIntervals,
    AddReplay,
    AddSequential,
    AddUniform,
    AddWorkload,
    AddZipf,
    AdvanceClock,
    ClearDirtyLog,
    DeleteMemslot,
    GetDirtyLog,
    Gfns,
    GuestWrite,
    HostWrite,
    PageRanges,
    RunGuest,
    SetCpu,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.model.errors import NoSuchMemslotError
from hacdbs_sim.model.pages import Intervals
from hacdbs_sim.model.vms import MAX_WORKLOADS_PER_VM
from tests.support.machine import Machine

SHORT = 1 << 16
"""The work of about a millisecond."""

MS = 10**6
GIB = 1 << 30


def machine(size_bytes: int) -> Machine:
    made = Machine(VmConfig(ipa_bits=42))
    made.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=size_bytes, flags=1))
    return made


def is_short_on(made: Machine, action: Action[object]) -> bool:
    return made.estimate(action).work <= SHORT


def gfns(count: int) -> Gfns:
    return Gfns(np.zeros(count, dtype=np.uint64))


def ranges(first: int, count: int) -> PageRanges:
    return PageRanges(np.array([first], dtype=np.uint64), np.array([count], dtype=np.uint64))


def many_ranges(count: int) -> PageRanges:
    return PageRanges(np.arange(count, dtype=np.uint64), np.ones(count, dtype=np.uint64))


@pytest.mark.parametrize(
    ("size_bytes", "action", "is_short"),
    [
        (GIB, GetDirtyLog(slot=0), True),
        (128 * GIB, GetDirtyLog(slot=0), False),
        (GIB, GuestWrite(pages=gfns(1000)), True),
        (GIB, GuestWrite(pages=gfns(1_000_000)), False),
        (GIB, HostWrite(pages=ranges(0, 1 << 53)), True),
        (128 * GIB, HostWrite(pages=ranges(0, 1 << 53)), False),
        (128 * GIB, HostWrite(pages=ranges(0, 64)), True),
        (GIB, ClearDirtyLog(slot=0, pages=many_ranges(1000)), True),
        (GIB, ClearDirtyLog(slot=0, pages=many_ranges(100_000)), False),
        (GIB, SetMemslot(slot=1, guest_phys_addr=1 << 40, memory_size=128 * GIB, flags=1), False),
        (GIB, DeleteMemslot(slot=0), True),
        (128 * GIB, DeleteMemslot(slot=0), False),
        (128 * GIB, SetCpu(cpu=0, online=False), True),
    ],
)
def test_actions_of_milliseconds_leave_the_event_loop(
    size_bytes: int, action: Action[object], *, is_short: bool
) -> None:
    assert is_short_on(machine(size_bytes), action) is is_short


def test_a_get_with_manual_protect_is_a_copy_and_a_shorter_one_by_far() -> None:
    made = Machine(VmConfig(ipa_bits=42, manual_dirty_log_protect2=1))
    made.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=128 * GIB, flags=1))

    assert is_short_on(made, GetDirtyLog(slot=0))
    assert not is_short_on(made, ClearDirtyLog(slot=0, pages=ranges(0, 1)))
    assert is_short_on(made, GetDirtyLog(slot=7))


def trace(records: int, copies: int = 1) -> AddIntervals:
    pages = Intervals(np.array([0, records]), np.zeros(records, np.uint32))
    return AddIntervals(slot=0, pages=pages, interval_ns=MS, copies=copies)


UNIFORM = AddUniform(slot=0, writes_per_second=10**6)
QUIET = AddSequential(slot=0, writes_per_second=1000)


@pytest.mark.parametrize(
    ("workload", "action", "is_short"),
    [
        (UNIFORM, RunGuest(duration_ns=MS), True),
        (UNIFORM, RunGuest(duration_ns=100 * MS), False),
        (UNIFORM, RunGuest(duration_ns=100 * MS, throttle_percent=99), True),
        (UNIFORM, AdvanceClock(duration_ns=10**15), True),
        (UNIFORM, QUIET, True),
        (UNIFORM, AddZipf(slot=0, writes_per_second=1), False),
        (UNIFORM, trace(100), True),
        (UNIFORM, trace(100_000), False),
    ],
)
def test_actions_of_more_than_a_millisecond_leave_the_event_loop(
    workload: AddWorkload, action: Action[object], *, is_short: bool
) -> None:
    made = machine(1024 * 4096)
    made.perform(workload)

    assert is_short_on(made, action) is is_short


def test_many_idle_workloads_are_no_short_run() -> None:
    made = machine(1024 * 4096)
    for _ in range(MAX_WORKLOADS_PER_VM):
        made.perform(QUIET)

    assert not is_short_on(made, RunGuest(duration_ns=1))


def test_the_trace_of_a_recording_is_planned_for_each_copy() -> None:
    made = Machine(VmConfig(), lambda _: trace(10).pages)
    made.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=GIB, flags=1))

    assert not is_short_on(made, AddReplay(slot=0, trace="xz", interval_ns=MS))
    assert not is_short_on(made, trace(10_000, copies=2))


def test_an_estimate_has_the_pages_and_bytes_after_the_action() -> None:
    made = machine(GIB)
    for action in (
        SetMemslot(slot=1, guest_phys_addr=4 * GIB, memory_size=GIB, flags=1),
        trace(1000),
        DeleteMemslot(slot=0),
        GetDirtyLog(slot=1),
    ):
        estimate = made.estimate(action)
        made.perform(action)
        now = made.footprint
        assert (estimate.pages, estimate.state_bytes) == (now.pages, now.state_bytes), action


def test_an_estimate_may_be_refused_as_the_action_would() -> None:
    with pytest.raises(NoSuchMemslotError):
        machine(GIB).estimate(DeleteMemslot(slot=7))
