"""Workloads and page versions within the fleet's limits, and how long runs are thought to take."""

import numpy as np
import pytest

from app.service.budget import StateBudget
from app.service.cost_estimate import INLINE_WORK, work_of, work_of_making
from app.service.errors import StateBytesLimitError, WorkloadLimitError
from app.service.limits import MAX_WORKLOADS_PER_VM, Limits
from app.service.totals import Totals
from app.service.vm_runtime import VmRuntime
from hacdbs_sim.sim.actions import Trace
from hacdbs_sim.model.errors import InvalidWorkloadError
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.model import Action, AddSequential, AddUniform, AddWorkload, AddZipf, AdvanceClock, DeleteWorkload, RunGuest, SetMemslot, TrackVersions, VmConfig

MS = 10**6
PAGES = 1024
SLOT = SetMemslot(slot=0, guest_phys_addr=0, memory_size=PAGES * 4096, flags=1)
QUIET = AddSequential(slot=0, writes_per_second=1000)


def trace(records: int) -> AddWorkload:
    pages = Trace(np.array([0, records]), np.zeros(records, np.uint32), interval_ns=MS)
    return WorkloadSpec(slot=0, pattern=pages)


def make(budget: StateBudget | None = None) -> VmRuntime:
    runtime = VmRuntime(
        Machine(VmConfig()), Limits(), budget or StateBudget(1 << 30), Totals()
    )
    runtime.perform(SLOT)
    return runtime


def test_a_vm_takes_so_many_workloads_and_one_more_once_one_is_off() -> None:
    runtime = make()
    for _ in range(MAX_WORKLOADS_PER_VM):
        runtime.perform(QUIET)

    with pytest.raises(WorkloadLimitError, match="the VM has 64 workloads"):
        runtime.perform(QUIET)

    runtime.perform(DeleteWorkload(workload_id="w7"))
    assert runtime.perform(QUIET).workload_id == "w65"


def test_a_trace_is_charged_and_given_back() -> None:
    budget = StateBudget(1 << 20)
    runtime = make(budget)
    before = budget.used_bytes

    runtime.perform(trace(1000))
    held = budget.used_bytes
    runtime.perform(DeleteWorkload(workload_id="w1"))

    assert held - before == 8000
    assert budget.used_bytes == before


def test_page_versions_are_charged_and_given_back() -> None:
    budget = StateBudget(1 << 20)
    runtime = make(budget)
    before = budget.used_bytes

    runtime.perform(TrackVersions(enabled=True))
    held = budget.used_bytes
    runtime.perform(TrackVersions(enabled=False))

    assert held - before == 4 * PAGES
    assert budget.used_bytes == before


@pytest.mark.parametrize("action", [trace(10_000), TrackVersions(enabled=True)])
def test_what_does_not_fit_the_budget_is_refused_and_changes_nothing(
    action: AddWorkload | TrackVersions,
) -> None:
    budget = StateBudget(make().machine.footprint.state_bytes + 4 * PAGES - 1)
    runtime = make(budget)
    before = budget.used_bytes

    with pytest.raises(StateBytesLimitError):
        runtime.perform(action)

    assert budget.used_bytes == before
    assert runtime.machine.workloads() == ()
    assert runtime.machine.versions(0) is None


def test_a_workload_that_is_refused_is_not_charged() -> None:
    budget = StateBudget(1 << 20)
    runtime = make(budget)
    before = budget.used_bytes
    pages = Trace(np.array([0, 1]), np.array([PAGES], np.uint32), interval_ns=MS)

    with pytest.raises(InvalidWorkloadError):
        runtime.perform(WorkloadSpec(slot=0, pattern=pages))

    assert budget.used_bytes == before


@pytest.mark.parametrize(
    ("workload", "action", "is_short"),
    [
        (AddUniform(slot=0, writes_per_second=10**6), RunGuest(duration_ns=MS), True),
        (AddUniform(slot=0, writes_per_second=10**6), RunGuest(duration_ns=100 * MS), False),
        (AddUniform(slot=0, writes_per_second=10**6), RunGuest(duration_ns=100 * MS, throttle_percent=99), True),
        (AddUniform(slot=0, writes_per_second=10**6), AdvanceClock(duration_ns=10**15), True),
        (AddUniform(slot=0, writes_per_second=10**6), QUIET, True),
        (AddUniform(slot=0, writes_per_second=10**6), AddZipf(slot=0, writes_per_second=1), False),
        (AddUniform(slot=0, writes_per_second=10**6), trace(100), True),
        (AddUniform(slot=0, writes_per_second=10**6), trace(100_000), False),
    ],
)
def test_what_takes_more_than_a_millisecond_leaves_the_event_loop(
    workload: WorkloadSpec, action: Action, is_short: bool
) -> None:
    runtime = make()
    runtime.perform(workload)

    assert (work_of(runtime.machine, action) <= INLINE_WORK) is is_short


def test_many_idle_workloads_are_no_short_run() -> None:
    runtime = make()
    for _ in range(MAX_WORKLOADS_PER_VM):
        runtime.perform(QUIET)

    assert work_of(runtime.machine, RunGuest(duration_ns=1)) > INLINE_WORK


@pytest.mark.parametrize(("workload", "is_short"), [(QUIET, True), (trace(100_000), False)])
def test_a_vm_made_with_a_long_trace_is_made_in_a_thread(
    workload: AddWorkload, is_short: bool
) -> None:
    assert (work_of_making(VmConfig(), [SLOT], [workload]) <= INLINE_WORK) is is_short
