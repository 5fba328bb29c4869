"""What holds of logs and of stage 2 after every action (docs/invariants.md)."""

from itertools import pairwise

import numpy as np
from typing_extensions import override

from hacdbs_sim.model import (
    AddFault,
    AddWorkload,
    AdvanceClock,
    ClearDirtyLog,
    DeleteFault,
    DeleteFaults,
    DeleteWorkload,
    DeleteWorkloads,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    HintFree,
    HostDiscard,
    HostUnmap,
    HostWrite,
    LeafState,
    MemslotFlags,
    NeedVersions,
    RunGuest,
    TrackVersions,
)
from tests.property.invariant import Invariant, reported, requested_by
from tests.property.states import (
    Pages,
    Step,
    offsets_in,
)
from tests.support.scalar_model import Refused
from tests.support.scalar_stage2 import PAGES_PER_LEAF

ALOOF = (
    AddFault
    | DeleteFault
    | DeleteFaults
    | AddWorkload
    | DeleteWorkload
    | DeleteWorkloads
    | AdvanceClock
    | TrackVersions
    | NeedVersions
    | HintFree
)
"""Actions that touch neither memory nor logs."""


class NoDirtyPageIsLost(Invariant):
    """A page dirtied since its last report is in the log or was put back.

    Owed is every page that a guest or the host wrote while its slot had a log, workloads included. A get without manual
    protect pays what its answer names, a clear pays what it was given; nothing else does. A get
    whose copy to the user fails loses what it took: the kernel's own hole.
    """

    def __init__(self) -> None:
        self.owed: dict[int, Pages] = {}

    @override
    def after(self, step: Step) -> None:
        self.owed = {
            slot: self.owed.get(slot, np.zeros(step.after.slots[slot].npages, np.bool_))
            for slot in step.after.logs
        }
        if not isinstance(step.answer, Refused):
            self._owe(step)
            self._pay(step)
        elif step.answer.code == "copy_to_user_failed":
            assert isinstance(step.action, GetDirtyLog)
            if not step.before.config.manual_dirty_log_protect2:
                self.owed[step.action.slot][:] = False
        for slot, owed in self.owed.items():
            lost = owed & ~step.after.dirty(slot)
            assert not lost.any(), f"slot {slot} lost pages {np.flatnonzero(lost)[:8]}"

    def _owe(self, step: Step) -> None:
        for batch in step.batches:
            for slot in self.owed:
                view = step.after.slots[slot]
                if not view.flags & MemslotFlags.READONLY:
                    self.owed[slot] |= offsets_in(batch.pages, view.base_gfn, view.npages)

    def _pay(self, step: Step) -> None:
        if isinstance(step.action, GetDirtyLog):
            owed = self.owed[step.action.slot]
            lost = owed & ~reported(step)
            assert not lost.any(), f"the answer lacks pages {np.flatnonzero(lost)[:8]}"
            if not step.before.config.manual_dirty_log_protect2:
                owed[:] = False
        elif isinstance(step.action, ClearDirtyLog):
            self.owed[step.action.slot] &= ~requested_by(step)


class CleansOnlyWhatIsAsked(Invariant):
    """A get or a clear takes exactly the dirty pages that are requested, and adds none.

    The log after is the log before without them; a get answers the log before, a get with manual
    protect takes nothing.
    """

    @override
    def after(self, step: Step) -> None:
        if isinstance(step.answer, Refused):
            return
        if not isinstance(step.action, GetDirtyLog | ClearDirtyLog):
            return
        slot = step.action.slot
        before = step.before.dirty(slot)
        if isinstance(step.action, ClearDirtyLog):
            taken = requested_by(step)
        else:
            assert np.array_equal(reported(step), before)
            taken = np.full(len(before), not step.before.config.manual_dirty_log_protect2)
        assert np.array_equal(step.after.dirty(slot), before & ~taken)


class WritableMeansLogged(Invariant):
    """While a slot logs, every page under a writable leaf has its bit set (docs/kernel.md S.2).

    Otherwise the guest could write a page without a fault or a bit in the log.
    """

    @override
    def after(self, step: Step) -> None:
        for slot, writable in step.after.writable.items():
            view = step.after.slots[slot]
            if view.dirty_count is None or view.flags & MemslotFlags.READONLY:
                continue
            silent = writable & ~step.after.dirty(slot)
            assert not silent.any(), f"slot {slot} writes silently {np.flatnonzero(silent)[:8]}"


class WrittenMeansWritable(Invariant):
    """After a guest write, a workload's too, every page written is mapped and writable; after a read, mapped.

    A READONLY slot takes no write.
    """

    @override
    def after(self, step: Step) -> None:
        if isinstance(step.answer, Refused):
            return
        for slot, view in step.after.slots.items():
            if isinstance(step.action, GuestRead):
                read = offsets_in(step.action.pages, view.base_gfn, view.npages)
                assert not (read & ~step.after.mapped[slot]).any()
            for batch in step.batches:
                if isinstance(batch, GuestWrite) and not view.flags & MemslotFlags.READONLY:
                    written = offsets_in(batch.pages, view.base_gfn, view.npages)
                    assert not (written & ~step.after.writable[slot]).any()


class OnlyWhatItIsFor(Invariant):
    """An action leaves alone what it is not for.

    Host writes, faults and CPUs leave stage 2 alone, and so does a run in which only the host writes;
    unmaps and reads leave the logs alone, workloads that come and go and time that passes both; and only
    gets and clears move a unit's counters.
    """

    @override
    def after(self, step: Step) -> None:
        before, after, action = step.before, step.after, step.action
        is_by_host = all(isinstance(batch, HostWrite) for batch in step.batches)
        if isinstance(action, HostWrite | ALOOF) or (isinstance(action, RunGuest) and is_by_host):
            assert after.runs == before.runs
        if isinstance(action, HostUnmap | HostDiscard | GuestRead | ALOOF):
            assert after.logs.keys() == before.logs.keys()
            assert all(np.array_equal(after.logs[each], before.logs[each]) for each in after.logs)
        if not isinstance(action, GetDirtyLog | ClearDirtyLog):
            assert [unit.runs for unit in after.units] == [unit.runs for unit in before.units]
            assert [unit.hacdbscons_el2 for unit in after.units] == [
                unit.hacdbscons_el2 for unit in before.units
            ]


class RunsCoverTheIpaSpace(Invariant):
    """Stage 2's runs lie end to end over the IPA space, and neighbours differ.

    Blocks are whole and aligned, and lie inside a slot; nothing is mapped outside the slots; a
    descriptor is 0 exactly where nothing is mapped.
    """

    @override
    def after(self, step: Step) -> None:
        runs = step.after.runs
        assert runs[0].gfn == 0
        assert runs[-1].gfn + runs[-1].count == step.after.end_gfn
        for run, following in pairwise(runs):
            assert run.gfn + run.count == following.gfn
            assert (run.level, run.state) != (following.level, following.state)
        inside = 0
        for run in runs:
            assert (run.level is None) == (run.state is LeafState.UNMAPPED)
            assert (run.descriptor == 0) == (run.level is None)
            if run.level is not None:
                size = PAGES_PER_LEAF[step.after.config.page_size][run.level]
                assert run.gfn % size == run.count % size == 0
                inside += run.count
        assert inside == sum(int(pages.sum()) for pages in step.after.mapped.values())
