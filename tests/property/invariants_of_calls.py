"""What holds of answers, units, queries, refusals and counts after every action (docs/invariants.md)."""

from dataclasses import replace

import numpy as np
from typing_extensions import override

from hacdbs_sim.model import (
    AcceleratorOutcome,
    AcceleratorReport,
    ClearDirtyLog,
    DirtyLog,
    FaultType,
    GetDirtyLog,
    HacdbsbrInfo,
    KernelProfile,
    MemslotInfo,
    RunGuest,
    SetMemslot,
    TraceFields,
    UnitStatus,
    known,
)
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.sim.arm64.regions import stage2_of
from hacdbs_sim.sim.guest.trace import TracePlan
from tests.property.invariant import Invariant
from tests.property.states import (
    Sight,
    Step,
    copy_of,
    whole_state,
)
from tests.support.lockstep import same_words
from tests.support.machine import Machine
from tests.support.scalar_model import Refused
from tests.support.scalar_stage2 import PAGES_PER_LEAF

NOTHING_LEFT = ("beyond_ipa_space", "copy_to_user_failed")
"""The two refusals after which something has changed, as in the kernel (docs/kernel.md S.2)."""


class HardwareEndsAsSoftwareDoes(Invariant):
    """From the same machine, a call of the hook ends as the software loop alone would have ended it.

    A copy of the machine, its kernel built without the hook (`features.hacdbs` false, so that no fault of the
    hardware has a site), performs the same get or clear. Answer and log are the same, and
    so is the write permission of every page that is not left in the log. Of a page that is left there,
    software may have taken the permission (it write-protects whole intervals of a word, and whole
    blocks), never the unit. After a get nothing is left, so all pages are equal.
    """

    @override
    def after(self, step: Step) -> None:
        if not isinstance(step.answer, DirtyLog) or step.answer.accelerator is None:
            return
        twin = copy_of(step.before.state)
        # No action does it: how a kernel was built does not change.
        calls = twin._dirty_log
        calls.clear_config = replace(calls.clear_config, hacdbs=False)
        assert isinstance(step.action, GetDirtyLog | ClearDirtyLog)
        answer = twin.perform(step.action)
        seen, slot = Sight.of(twin, state=b""), step.action.slot
        assert answer.accelerator is not None
        assert answer.accelerator.errno == "ENXIO"
        for name in ("bitmap", "dirty_count", "remaining_count", "flush_tlb"):
            mine, its = getattr(step.answer, name), getattr(answer, name)
            assert mine == its, f"{name}: {mine} by hardware, {its} by software"
        assert same_words(step.answer.bitmap, answer.bitmap)
        for other, words in step.after.logs.items():
            assert np.array_equal(words, seen.logs[other])
        left = step.after.dirty(slot)
        hardware, software = step.after.writable[slot], seen.writable[slot]
        assert np.array_equal(hardware & ~left, software & ~left)
        assert not (software & ~hardware).any()


class ReportsFollowTheRule(Invariant):
    """Its figures follow from T, n and the rank of the entry that failed (docs/kernel.md S.1)."""

    @override
    def after(self, step: Step) -> None:
        outcome = step.answer
        if not isinstance(outcome, DirtyLog) or outcome.accelerator is None:
            return
        report, total = outcome.accelerator, known(outcome.dirty_count)
        n = step.before.config.page_size // 8
        if report.outcome is AcceleratorOutcome.DECLINED:
            assert report.errno in ("ENXIO", "EPERM", "ENOMEM")
            assert not any((report.batches, report.entries, report.cleaned, report.requeued))
            assert report.error is None
        elif report.error is None:
            assert (report.entries, report.cleaned, report.requeued) == (total, total, 0)
            assert report.batches == -(-total // n)
            exact = total > 0 and total % n == 0
            spurious = exact and step.before.config.kernel is KernelProfile.V1
            assert report.errno == ("EAGAIN" if spurious else None)
        else:
            rank = n * report.error.batch + report.error.index
            assert (report.cleaned, report.errno) == (rank, "EAGAIN")
            assert report.batches == report.error.batch + 1
            assert report.entries == min(n * report.batches, total)
            put_back = report.entries - rank
            assert put_back <= report.requeued <= put_back + 63
        ran = report.outcome is not AcceleratorOutcome.CLEANED
        assert known(outcome.software).ran == ran
        self._traced(report, n)

    def _traced(self, report: AcceleratorReport, n: int) -> None:
        if report.trace is None:
            assert report.trace_omitted is None
            return
        assert report.trace_omitted is not None
        assert len(report.trace) + report.trace_omitted == report.batches
        assert sum(run.size for run in report.trace) == report.entries
        assert sum(run.cleaned for run in report.trace) == report.cleaned
        assert all(run.size == n for run in report.trace[:-1])
        assert all(run.first_gfn <= run.last_gfn for run in report.trace)


class CountsAddUp(Invariant):
    """dirty_count = accelerator.cleaned + software.pages, and remaining_count is the log's count.

    The bitmap answered has dirty_count bits, none past the slot's end; a clear answers none. The TLB is
    flushed iff something was cleaned.
    """

    @override
    def after(self, step: Step) -> None:
        for slot, words in step.after.logs.items():
            view = step.after.slots[slot]
            assert int(np.bitwise_count(words).sum()) == view.dirty_count
            assert len(words) == -(-view.npages // 64)
            assert not view.npages % 64 or int(words[-1]) >> view.npages % 64 == 0
        outcome = step.answer
        if not isinstance(outcome, DirtyLog):
            return
        assert outcome.remaining_count == step.after.slots[outcome.slot].dirty_count
        if outcome.bitmap is None:
            assert isinstance(step.action, ClearDirtyLog)
        else:
            assert int(np.bitwise_count(outcome.bitmap.words).sum()) == outcome.dirty_count
        if outcome.accelerator is not None:
            by_both = outcome.accelerator.cleaned + known(outcome.software).pages
            assert outcome.dirty_count == by_both
            assert outcome.flush_tlb == (by_both > 0)
        else:
            assert not known(outcome.software).ran
            assert not outcome.flush_tlb


class UnitsRestBetweenActions(Invariant):
    """RUNNING and ERROR exist only inside an action; HACDBSBR_EL2 is 0 after it.

    interrupts = runs - lost ones; a unit never has more than it did; status says whether it is plugged in.
    """

    def __init__(self) -> None:
        self.lost = 0

    @override
    def after(self, step: Step) -> None:
        config, units = step.after.config, step.after.units
        for unit in units:
            idle = unit.online and config.features.hacdbs
            assert unit.status is (UnitStatus.IDLE if idle else UnitStatus.OFF)
            assert unit.hacdbsbr_el2 == HacdbsbrInfo(raw=0, baddr=0, en=False, sz=0)
            assert unit.cleaned <= unit.entries
        assert any(unit.online for unit in units)
        report = step.answer.accelerator if isinstance(step.answer, DirtyLog) else None
        if report is not None and report.error is not None:
            self.lost += report.error.reason == "LOST_INTERRUPT"
        elif isinstance(step.answer, Refused) and step.answer.code == "copy_to_user_failed":
            # The answer that would have reported it is gone; the fault counts its hits.
            self.lost += _hits_of_lost(step.after) - _hits_of_lost(step.before)
        assert sum(unit.runs - unit.interrupts for unit in units) == self.lost


class QueriesChangeNothing(Invariant):
    """No query has a side effect: not peek, not a list, not stage 2, not `estimate`.

    After all queries the whole state, as bytes, is that of before them; and a query returns the same
    twice. Judged after every fourth action: all queries run after each of them.
    """

    def __init__(self) -> None:
        self.turn = 0

    @override
    def after(self, step: Step) -> None:
        self.turn += 1
        if self.turn % 4:
            return
        core, sight = step.core, step.after
        for slot, view in sight.slots.items():
            assert core.memslot(slot) == view
            for flags in (0, 1):
                for gpa in (view.guest_phys_addr, view.guest_phys_addr + view.memory_size):
                    _quietly_ask(step, view, gpa, flags)
        for unit in sight.units:
            assert core.cpu(unit.cpu) == unit
        for fault in sight.faults:
            assert core.fault(fault.fault_id) == fault
        for workload in sight.workloads:
            assert core.workload(workload.workload_id) == workload
        assert core.writes_of_run(RunGuest(duration_ns=1_000_000)) >= 0
        assert core.clock() == sight.clock
        for absent in (9, 32767):
            for query in (core.memslot, core.peek_dirty_log, core.cpu):
                _refused(query, absent + 1000)
        assert whole_state(core) == step.after.state


class RefusedMeansUnchanged(Invariant):
    """A refused action changes nothing, but for the two cases that the kernel has.

    A MOVE beyond the IPA space has unmapped its slot, and nothing else. A failed copy to the user has
    used a fault; without manual protect it has cleaned the slot, and nothing else.
    """

    @override
    def after(self, step: Step) -> None:
        if not isinstance(step.answer, Refused):
            return
        before, after = step.before, step.after
        if step.answer.code not in NOTHING_LEFT:
            assert step.after.state == before.state
            return
        assert (after.config, after.footprint) == (before.config, before.footprint)
        assert isinstance(step.action, SetMemslot | GetDirtyLog)
        slot = step.action.slot
        if step.answer.code == "beyond_ipa_space":
            assert (after.slots, after.units) == (before.slots, before.units)
            assert (after.faults, after.counters) == (before.faults, before.counters)
            assert all(np.array_equal(after.logs[each], before.logs[each]) for each in before.logs)
            assert slot not in after.slots or not after.mapped[slot].any()
        else:
            manual = before.config.manual_dirty_log_protect2
            assert np.array_equal(after.dirty(slot), before.dirty(slot) & bool(manual))
            assert len(after.faults) == len(before.faults)
            assert not manual or (after.units, after.runs) == (before.units, before.runs)
        for each in set(after.slots) - {slot}:
            assert np.array_equal(after.writable[each], before.writable[each])
            assert np.array_equal(after.mapped[each], before.mapped[each])


class FootprintIsWhatPlanesTake(Invariant):
    """The footprint is what planes, bitmaps, page versions, free pages and traces take in memory.

    A block takes a byte at most.
    """

    @override
    def after(self, step: Step) -> None:
        page_size = step.after.config.page_size
        words = blocks = most_blocks = 0
        for slot in step.core._slots.by_id():
            stage2 = stage2_of(slot)
            planes = [stage2.mapped, stage2.writable, stage2.dbm]
            planes += [slot.log.words] if slot.log else []
            words += sum(plane.nbytes for plane in planes)
            blocks += sum(level.leaves.nbytes for level in stage2.levels)
            sizes = [pages for pages in PAGES_PER_LEAF[page_size].values() if pages > 1]
            most_blocks += sum(slot.region.npages // size for size in sizes)
        versions = sum(each.nbytes for each in (step.after.versions or {}).values())
        free = getattr(step.core._guest_side._free, "_by_slot", {})
        held = words + most_blocks + versions + _bytes_of_traces(step.core)
        held += sum(each.nbytes for each in free.values())
        assert step.after.footprint.state_bytes == held
        assert blocks <= most_blocks
        assert step.after.footprint.pages == sum(view.npages for view in step.after.slots.values())


class CountersOnlyGrow(Invariant):
    """No counter of a machine or of a unit ever shrinks, nor do a fault's hits pass `times`."""

    @override
    def after(self, step: Step) -> None:
        before, after = step.before, step.after
        assert all(after.counters[name] >= count for name, count in before.counters.items())
        for was, unit in zip(before.units, after.units, strict=True):
            assert (unit.runs, unit.entries) >= (was.runs, was.entries)
        for fault in after.faults:
            assert fault.hits <= fault.opportunities
            assert fault.times is None or fault.hits <= fault.times
            assert (fault.last_hit is None) == (fault.hits == 0)


def _bytes_of_traces(core: Machine) -> int:
    """Return what traces take, as given and as laid out."""
    sizes = 0
    for workload in core._guest_side.guest._workloads.values():
        plan = getattr(workload.pages_of, "__self__", None)
        if isinstance(workload.spec, TraceFields):
            assert isinstance(plan, TracePlan)
            assert workload._recording is not None
            sizes += workload._recording.pages.nbytes + plan.pages.nbytes
    return sizes


def _quietly_ask(step: Step, view: MemslotInfo, gpa: int, flags: int) -> None:
    action = SetMemslot(
        slot=view.slot,
        guest_phys_addr=gpa,
        memory_size=view.memory_size,
        userspace_addr=view.userspace_addr,
        flags=flags,
        backing=view.backing,
    )
    _refused(step.core.estimate, action)


def _refused(query: object, argument: object) -> None:
    """Query; a refusal is an answer too."""
    assert callable(query)
    try:
        query(argument)
    except KvmError:
        return


def _hits_of_lost(sight: Sight) -> int:
    return sum(fault.hits for fault in sight.faults if fault.type is FaultType.LOST_INTERRUPT)
