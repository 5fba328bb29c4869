"""Workloads and page versions within the fleet's limits."""

import numpy as np
import pytest

from app.service.budget import StateBudget
from app.service.errors import StateBytesLimitError, WorkloadLimitError
from app.service.limits import Limits
from app.service.order import Order
from app.service.totals import Totals
from app.service.vm_runtime import VmRuntime
from hacdbs_sim.model import (
    MAX_WORKLOADS_PER_VM,
    AddIntervals,
    AddSequential,
    CopyVersions,
    DeleteWorkload,
    DeleteWorkloads,
    ListWorkloads,
    SetMemslot,
    TrackVersions,
    VmConfig,
)
from hacdbs_sim.model.errors import InvalidWorkloadError
from hacdbs_sim.model.pages import Intervals
from tests.support.machine import Machine

MS = 10**6
PAGES = 1024
SLOT = SetMemslot(slot=0, guest_phys_addr=0, memory_size=PAGES * 4096, flags=1)
QUIET = AddSequential(slot=0, writes_per_second=1000)


def trace(*pages: int) -> AddIntervals:
    intervals = Intervals(np.array([0, len(pages)]), np.array(pages, np.uint32))
    return AddIntervals(slot=0, pages=intervals, interval_ns=MS)


def make(budget: StateBudget | None = None) -> VmRuntime:
    runtime = VmRuntime(
        lambda entered: Machine(VmConfig(), entered=entered),
        Limits(),
        budget or StateBudget(1 << 30),
        Totals(),
        Order(),
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

    runtime.perform(trace(*[0] * 1000))
    held = budget.used_bytes
    runtime.perform(DeleteWorkload(workload_id="w1"))

    assert held - before == 8000
    assert budget.used_bytes == before


def test_traces_taken_off_together_are_given_back() -> None:
    budget = StateBudget(1 << 20)
    runtime = make(budget)
    before = budget.used_bytes
    for _ in range(3):
        runtime.perform(trace(*[0] * 1000))

    runtime.perform(DeleteWorkloads())

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


@pytest.mark.parametrize("action", [trace(*[0] * 10_000), TrackVersions(enabled=True)])
def test_what_does_not_fit_the_budget_is_refused_and_changes_nothing(
    action: AddIntervals | TrackVersions,
) -> None:
    measured = StateBudget(1 << 30)
    make(measured)
    budget = StateBudget(measured.used_bytes + 4 * PAGES - 1)
    runtime = make(budget)
    before = budget.used_bytes

    with pytest.raises(StateBytesLimitError):
        runtime.perform(action)

    assert budget.used_bytes == before
    assert runtime.query(ListWorkloads()) == ()
    assert runtime.query(CopyVersions(slot=0)) is None


def test_a_workload_that_is_refused_is_not_charged() -> None:
    budget = StateBudget(1 << 20)
    runtime = make(budget)
    before = budget.used_bytes

    with pytest.raises(InvalidWorkloadError):
        runtime.perform(trace(PAGES))

    assert budget.used_bytes == before
