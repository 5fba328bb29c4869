"""What holds of the clock, of workloads and of page versions after every action (docs/invariants.md)."""

from dataclasses import asdict, fields, replace

import numpy as np
from typing_extensions import override

from hacdbs_sim.model import (
    AccessOutcome,
    AddWorkload,
    AdvanceClock,
    Clock,
    DeleteWorkload,
    DeleteWorkloads,
    GuestRun,
    GuestWrite,
    HostWrite,
    MemslotFlags,
    NeedVersions,
    RunGuest,
    TrackVersions,
    WorkloadInfo,
    known,
)
from tests.property.invariant import Invariant
from tests.property.states import Sight, Step, copy_of, offsets_in
from tests.support.scalar_model import Refused

ACCESS_FIGURES = tuple(each.name for each in fields(AccessOutcome))


class RunsEndAsTheirWritesDo(Invariant):
    """A run ends as the writes of its workloads do, each workload's given to a copy as one batch.

    Log, stage 2, counters and the pages with a new version are the same, and so is what the writes met.
    What the guest's own writes cost is paid or owed, shared by the vCPUs.
    """

    @override
    def after(self, step: Step) -> None:
        if not isinstance(step.answer, GuestRun):
            return
        twin, met, cost_ps = copy_of(step.before.state), AccessOutcome(), 0
        for batch in step.batches:
            assert isinstance(batch, GuestWrite | HostWrite)
            each = twin.perform(batch)
            met = AccessOutcome(
                **{name: getattr(met, name) + getattr(each, name) for name in ACCESS_FIGURES},
            )
            if isinstance(batch, GuestWrite):
                cost_ps += _cost_ps(step, each)
        seen, after = Sight.of(twin, state=b""), step.after
        assert asdict(met) == {name: getattr(step.answer, name) for name in ACCESS_FIGURES}
        assert seen.counters == after.counters
        assert seen.runs == after.runs
        assert all(np.array_equal(seen.logs[slot], words) for slot, words in after.logs.items())
        for slot, versions in (after.versions or {}).items():
            assert step.before.versions is not None
            assert seen.versions is not None
            was = step.before.versions[slot]
            assert np.array_equal(seen.versions[slot] > was, versions > was)
        paid_ns = step.answer.stalled_ns + after.clock.debt_ns - step.before.clock.debt_ns
        assert abs(paid_ns - cost_ps / (1000 * step.before.config.vcpus)) <= 1


class ClocksAddUp(Invariant):
    """A clock moves by what AdvanceClock and RunGuest say, and by nothing else, never backwards.

    While the guest runs, guest_ns + stalled_ns + throttled_ns is all of it.
    """

    @override
    def after(self, step: Step) -> None:
        before, after, action = step.before.clock, step.after.clock, step.action
        moved = {each.name: _moved(each.name, before, after) for each in fields(Clock)}
        owed_ns = moved.pop("debt_ns")
        ran_ns = moved["guest_ns"] + moved["stalled_ns"] + moved["throttled_ns"]
        if isinstance(step.answer, Refused) or not isinstance(action, AdvanceClock | RunGuest):
            assert after == before
            return
        assert moved["now_ns"] == action.duration_ns
        assert after.debt_ns >= 0
        assert min(moved.values()) >= 0
        if isinstance(action, AdvanceClock):
            assert (ran_ns, owed_ns) == (0, 0)
            assert step.answer == after
            return
        answer = step.answer
        assert isinstance(answer, GuestRun)
        assert answer.clock == after
        assert ran_ns == action.duration_ns
        for name in ("guest_ns", "stalled_ns", "throttled_ns"):
            assert getattr(answer, name) == moved[name]
        throttled = action.duration_ns * action.throttle_percent
        assert abs(100 * answer.throttled_ns - throttled) < 100


class WorkloadsWriteInRunsOnly(Invariant):
    """Only AddWorkload adds one, only DeleteWorkload takes one off, or DeleteWorkloads all; only RunGuest lets
    them write.

    What they are never changes. Their writes, and those skipped, add up to what the run answers.
    """

    @override
    def after(self, step: Step) -> None:
        before = {view.workload_id: view for view in step.before.workloads}
        after = {view.workload_id: view for view in step.after.workloads}
        new, gone = list(after.keys() - before.keys()), list(before.keys() - after.keys())
        is_done = not isinstance(step.answer, Refused)
        assert len(new) == (is_done and isinstance(step.action, AddWorkload))
        if new:
            assert after[new[0]] == step.answer == step.after.workloads[-1]
            assert (after[new[0]].writes, after[new[0]].skipped) == (0, 0)
        is_removal = is_done and isinstance(step.action, DeleteWorkload)
        if isinstance(step.action, DeleteWorkloads):
            assert not after
        else:
            assert [before[each] for each in gone] == ([step.answer] if is_removal else [])
        writes = skipped = 0
        for workload_id in before.keys() & after.keys():
            was, now = before[workload_id], after[workload_id]
            _check_same(was, now)
            writes += now.writes - was.writes
            skipped += now.skipped - was.skipped
        if isinstance(step.answer, GuestRun):
            assert (step.answer.writes, step.answer.skipped) == (writes, skipped)
            assert step.answer.pages == writes - skipped
        else:
            assert (writes, skipped) == (0, 0)


class VersionsTellWrites(Invariant):
    """A page's version is newer exactly where something wrote it, READONLY slots left out.

    So a page that a write put into a log is newer. Only TrackVersions and NeedVersions begin or
    end keeping them; a slot that is new has none, one that moves keeps its own.
    """

    @override
    def after(self, step: Step) -> None:
        before, after = step.before, step.after
        if not isinstance(step.action, TrackVersions | NeedVersions):
            assert (before.versions is None) == (after.versions is None)
        if after.versions is None:
            assert after.last_version is None
            return
        assert after.last_version is not None
        for slot, versions in after.versions.items():
            assert int(versions.max(initial=0)) <= after.last_version
            view, was = after.slots[slot], np.zeros(len(versions), np.uint32)
            if before.versions is not None:
                was = before.versions.get(slot, was)
            written = np.zeros(len(versions), np.bool_)
            if not view.flags & MemslotFlags.READONLY:
                for batch in step.batches:
                    written |= offsets_in(batch.pages, view.base_gfn, view.npages)
            assert np.array_equal(versions != was, written)
            assert (versions[written] > (before.last_version or 0)).all()
            if step.batches and slot in after.logs:
                entered = after.dirty(slot) & ~before.dirty(slot)
                assert not (entered & ~written).any()


def _moved(name: str, before: Clock, after: Clock) -> int:
    difference: int = getattr(after, name) - getattr(before, name)
    return difference


def _check_same(was: WorkloadInfo, now: WorkloadInfo) -> None:
    assert now == replace(was, writes=now.writes, skipped=now.skipped)
    assert now.writes >= was.writes
    assert now.skipped >= was.skipped
    assert now.skipped - was.skipped <= now.writes - was.writes


def _cost_ps(step: Step, met: AccessOutcome) -> int:
    costs = step.before.config.costs
    return (
        known(met.translation_faults) * costs.translation_fault_ps
        + known(met.permission_faults) * costs.permission_fault_ps
        + known(met.block_splits) * costs.lazy_split_ps
        + met.mmio_exits * costs.mmio_exit_ps
    )
