"""The invariants themselves: that each notices a machine that breaks it, and that all are documented."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pytest
from typing_extensions import override

from hacdbs_sim.model import (
    Action,
    AddIntervals,
    AddSequential,
    AdvanceClock,
    ClearDirtyLog,
    DeleteWorkload,
    DirtyLog,
    Estimate,
    FaultType,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    Intervals,
    RunGuest,
    SetMemslot,
    Stage2Page,
    TrackVersions,
    VmConfig,
    Writer,
    known,
)
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.sim.arm64.regions import stage2_of
from hacdbs_sim.sim.arm64.stage2 import Stage2
from hacdbs_sim.sim.arm64.sysregs import Hacdbsbr
from tests.property import invariants_of_calls as calls
from tests.property import invariants_of_guest as guest
from tests.property import invariants_of_memory as memory
from tests.property.invariant import Invariant
from tests.property.invariants import STEPWISE
from tests.property.states import Sight, Step, whole_state
from tests.support.faults import fault
from tests.support.machine import Machine
from tests.support.scalar_model import Refused
from tests.support.strategies import page_ranges

GFN: Final = 0x10000
NPAGES: Final = 700
ROOT: Final = Path(__file__).parents[2]
TRACE: Final = Intervals(starts=np.array([0, 2, 3]), pages=np.array([9, 640, 7], np.uint32))

ACTIONS: Final[tuple[Action[Any], ...]] = (
    SetMemslot(slot=0, guest_phys_addr=GFN * 4096, memory_size=NPAGES * 4096, flags=1),
    GuestWrite(pages=page_ranges((GFN, 600))),
    ClearDirtyLog(slot=0, pages=page_ranges((0, 100))),
    HostWrite(pages=page_ranges((GFN + 650, 10))),
    GuestRead(pages=page_ranges((GFN + 620, 5))),
    GetDirtyLog(slot=0, trace=True),
    GuestWrite(pages=page_ranges((GFN + 3, 1))),
    SetMemslot(slot=0, guest_phys_addr=GFN * 4096, memory_size=NPAGES * 4096 + 4096),
    fault(FaultType.IPAF, times=1, when={"index": 5}),
    GuestWrite(pages=page_ranges((GFN, 600))),
    GetDirtyLog(slot=0),
    GuestWrite(pages=page_ranges((GFN, 60))),
    HostUnmap(pages=page_ranges((GFN + 30, 1))),
    GetDirtyLog(slot=0),
    GetDirtyLog(slot=0),
    SetMemslot(slot=1, guest_phys_addr=0, memory_size=4096, flags=4),
    TrackVersions(enabled=True),
    AddSequential(slot=0, writes_per_second=1_000_000, first_page=3),
    AddIntervals(slot=0, pages=TRACE, interval_ns=10_000, writer=Writer.HOST),
    RunGuest(duration_ns=40_000, throttle_percent=10),
    GetDirtyLog(slot=0),
    RunGuest(duration_ns=100_000),
    AdvanceClock(duration_ns=1_000),
    HostWrite(pages=page_ranges((GFN + 650, 10))),
    DeleteWorkload(workload_id="w1"),
)

Spoil: TypeAlias = Callable[["Spoiled", Action[Any], Any], Any]


class Spoiled(Machine):
    """A machine that does something wrong after each action: a service that the rules must catch."""

    def __init__(self, config: VmConfig, spoil: Spoil) -> None:
        super().__init__(config)
        self.spoil = spoil

    @override
    def perform(self, action: Any) -> Any:
        try:
            return self.spoil(self, action, super().perform(action))
        except KvmError:
            self.spoil(self, action, None)
            raise

    @property
    def planes(self) -> Stage2:
        return stage2_of(self._slots.get(0))


def log_words(core: Spoiled) -> Any:
    log = core._slots.get(0).log
    assert log is not None
    return log


def loses_a_page(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if isinstance(action, GuestWrite):
        log = log_words(core)
        log.words[0] &= ~np.uint64(8)
        log.count = int(np.bitwise_count(log.words).sum())
    return answer


def reports_a_clean_page(_core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if isinstance(action, GetDirtyLog) and answer is not None:
        answer.bitmap.words[10] |= np.uint64(1 << 59)
    return answer


def leaves_a_page_writable(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if isinstance(action, ClearDirtyLog):
        core.planes.writable[0] |= np.uint64(1)
    return answer


def forgets_to_map(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if isinstance(action, GuestWrite):
        core.planes.writable[0] &= ~np.uint64(8)
    return answer


def queries_leave_a_mark(core: Spoiled, _action: Action[Any], answer: Any) -> Any:
    def estimate(action: Action[Any]) -> Estimate:
        core._counters._add({"mmio_exits": 1})
        return Machine.estimate(core, action)

    core.estimate = estimate  # type: ignore[method-assign]
    return answer


def counts_what_it_refused(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if answer is None and isinstance(action, SetMemslot):
        core._counters._add({"mmio_exits": 1})
    return answer


def unmaps_as_the_host_writes(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if isinstance(action, HostWrite):
        core.planes.unmap_all()
    return answer


def miscounts_what_is_left(_core: Spoiled, _action: Action[Any], answer: Any) -> Any:
    if isinstance(answer, DirtyLog):
        return replace(answer, remaining_count=known(answer.remaining_count) + 1)
    return answer


def requeues_a_word_too_much(_core: Spoiled, _action: Action[Any], answer: Any) -> Any:
    if isinstance(answer, DirtyLog) and answer.accelerator is not None:
        hook = answer.accelerator
        return replace(answer, accelerator=replace(hook, requeued=hook.requeued + 64))
    return answer


def leaves_the_unit_enabled(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if isinstance(action, GetDirtyLog):
        core._cpus.unit(0).base = Hacdbsbr(en=True)
    return answer


def drops_a_run(core: Spoiled, _action: Action[Any], answer: Any) -> Any:
    def stage2(gfn: int, count: int | None, limit: int) -> Stage2Page:
        page = Machine.stage2(core, gfn, count, limit)
        return Stage2Page(runs=page.runs[:1] + page.runs[2:], next_gfn=page.next_gfn)

    core.stage2 = stage2  # type: ignore[method-assign]
    return answer


def forgets_a_plane(core: Spoiled, _action: Action[Any], answer: Any) -> Any:
    core._footprint = replace(core._footprint, state_bytes=core._footprint.state_bytes - 88)
    return answer


def starts_counting_anew(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if isinstance(action, GetDirtyLog):
        core._counters._counts["newly_dirty"] = 0
    return answer


def loses_what_a_workload_wrote(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    return loses_a_page(core, GuestWrite(pages=page_ranges()), answer) if is_run(action) else answer


def forgets_a_debt(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if is_run(action):
        core._guest_side.guest.clock._debt_ps = 0
    return answer


def takes_time_to_get_the_log(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if isinstance(action, GetDirtyLog):
        core._guest_side.guest.clock.advance(1)
    return answer


def turns_the_clock_back(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if is_run(action):
        core._guest_side.guest.clock.advance(-50_000)
        return replace(answer, clock=core.clock())
    return answer


def stalls_without_telling(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if is_run(action):
        core._guest_side.guest.clock._stalled_ns += 1
        return replace(answer, clock=core.clock())
    return answer


def skips_a_write_in_silence(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if is_run(action):
        next(iter(core._guest_side.guest._workloads.values())).skipped += 1
    return answer


def writes_while_time_is_advanced(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if isinstance(action, AdvanceClock):
        next(iter(core._guest_side.guest._workloads.values())).writes += 1
    return answer


def versions_of(core: Spoiled) -> Any:
    kept = core._guest_side._versions
    assert kept is not None
    return kept._by_slot[0]


def does_not_stamp_the_host(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if isinstance(action, HostWrite) and core.last_version is not None:
        versions_of(core)[650] = 0
    return answer


def stamps_what_a_run_did_not_write(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if is_run(action):
        versions_of(core)[600] = core.last_version
    return answer


def unmaps_as_time_passes(core: Spoiled, action: Action[Any], answer: Any) -> Any:
    if isinstance(action, AdvanceClock):
        core.planes.unmap_all()
    return answer


def is_run(action: Action[Any]) -> bool:
    return isinstance(action, RunGuest)


SPOILS: Final[dict[type[Invariant], Spoil]] = {
    memory.NoDirtyPageIsLost: loses_a_page,
    memory.CleansOnlyWhatIsAsked: reports_a_clean_page,
    memory.WritableMeansLogged: leaves_a_page_writable,
    memory.WrittenMeansWritable: forgets_to_map,
    calls.HardwareEndsAsSoftwareDoes: leaves_a_page_writable,
    calls.QueriesChangeNothing: queries_leave_a_mark,
    calls.RefusedMeansUnchanged: counts_what_it_refused,
    memory.OnlyWhatItIsFor: unmaps_as_the_host_writes,
    calls.CountsAddUp: miscounts_what_is_left,
    calls.ReportsFollowTheRule: requeues_a_word_too_much,
    calls.UnitsRestBetweenActions: leaves_the_unit_enabled,
    memory.RunsCoverTheIpaSpace: drops_a_run,
    calls.FootprintIsWhatPlanesTake: forgets_a_plane,
    calls.CountersOnlyGrow: starts_counting_anew,
    guest.RunsEndAsTheirWritesDo: loses_what_a_workload_wrote,
    guest.ClocksAddUp: takes_time_to_get_the_log,
    guest.WorkloadsWriteInRunsOnly: skips_a_write_in_silence,
    guest.VersionsTellWrites: does_not_stamp_the_host,
}
"""For each rule a way to break it."""

MORE_SPOILS: Final[tuple[tuple[type[Invariant], Spoil], ...]] = (
    (memory.NoDirtyPageIsLost, loses_what_a_workload_wrote),
    (memory.OnlyWhatItIsFor, unmaps_as_time_passes),
    (guest.RunsEndAsTheirWritesDo, forgets_a_debt),
    (guest.RunsEndAsTheirWritesDo, stamps_what_a_run_did_not_write),
    (guest.ClocksAddUp, turns_the_clock_back),
    (guest.ClocksAddUp, stalls_without_telling),
    (guest.WorkloadsWriteInRunsOnly, writes_while_time_is_advanced),
    (guest.VersionsTellWrites, stamps_what_a_run_did_not_write),
)
"""Further ways to break those that the guest's actions are held by."""


def judge(invariant: Invariant, spoil: Spoil) -> None:
    """Perform the actions on a spoiled machine, with one rule to judge it and no model beside it."""
    core = Spoiled(VmConfig(), spoil)
    # Whatever breaks a machine, it stays the same machine: only its own state is written down.
    core.__reduce_ex__ = lambda _protocol: (  # type: ignore[method-assign]
        _machine_of,
        (
            {
                name: value
                for name, value in vars(core).items()
                if name in vars(Machine(core.config))
            },
        ),
    )
    before = Sight.of(core)
    for action in ACTIONS:
        answer: object
        try:
            answer = core.perform(action)
        except KvmError as error:
            answer = Refused(error.code)
        state = whole_state(core)
        after = Sight.of(core, state)
        invariant.after(Step(action, answer, before, after, core))
        before = after


def _machine_of(state: dict[str, Any]) -> Machine:
    made = Machine.__new__(Machine)
    vars(made).update(state)
    return made


def nothing(_core: Spoiled, _action: Action[Any], answer: Any) -> Any:
    return answer


@pytest.mark.parametrize("rule", STEPWISE, ids=lambda rule: rule.__name__)
def test_a_rule_notices_the_machine_that_breaks_it(rule: type[Invariant]) -> None:
    judge(rule(), nothing)

    with pytest.raises(AssertionError):
        judge(rule(), SPOILS[rule])


@pytest.mark.parametrize(
    ("rule", "spoil"), MORE_SPOILS, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_rule_notices_each_way_to_break_it(rule: type[Invariant], spoil: Spoil) -> None:
    judge(rule(), nothing)

    with pytest.raises(AssertionError):
        judge(rule(), spoil)


def test_the_document_lists_every_rule_and_no_other() -> None:
    document = (ROOT / "docs" / "invariants.md").read_text()

    listed = re.findall(r"^### (\w+)$", document, re.MULTILINE)

    assert sorted(listed) == sorted([*(rule.__name__ for rule in STEPWISE), *BESIDE])
    assert len(set(listed)) == len(listed)


BESIDE: Final = ("AgreesWithTheModel", "SameActionsSameBytes", "NoPageIsMissed")
"""Rules that are judged elsewhere: by `Lockstep`, by two applications, by the kernel's selftest."""
