"""The invariants themselves: that each notices a machine that breaks it, and that all are documented."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pytest
from typing_extensions import override

from app.sim.actions import (
    Action,
    ArmFault,
    ClearDirtyLog,
    DirtyLogOutcome,
    FaultSpec,
    FaultType,
    FaultWhen,
    Footprint,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    MachineConfig,
    SetMemoryRegion,
    Stage2Page,
)
from app.sim.arm64.regions import stage2_of
from app.sim.arm64.stage2 import Stage2
from app.sim.arm64.sysregs import Hacdbsbr
from app.sim.base.errors import KvmError
from app.sim.machine import Machine
from tests.property import invariants_of_calls as calls
from tests.property import invariants_of_memory as memory
from tests.property.invariant import Invariant
from tests.property.invariants import STEPWISE
from tests.property.sights import Sight, Step, whole_state
from tests.support.scalar_model import Refused
from tests.support.strategies import page_ranges

GFN: Final = 0x10000
NPAGES: Final = 700
ROOT: Final = Path(__file__).parents[2]

ACTIONS: Final[tuple[Action, ...]] = (
    SetMemoryRegion(0, GFN * 4096, NPAGES * 4096, flags=1),
    GuestWrite(page_ranges((GFN, 600))),
    ClearDirtyLog(0, page_ranges((0, 100))),
    HostWrite(page_ranges((GFN + 650, 10))),
    GuestRead(page_ranges((GFN + 620, 5))),
    GetDirtyLog(0, trace=True),
    GuestWrite(page_ranges((GFN + 3, 1))),
    SetMemoryRegion(0, GFN * 4096, NPAGES * 4096 + 4096),
    ArmFault(FaultSpec(FaultType.IPAF, times=1, when=FaultWhen(index=5))),
    GuestWrite(page_ranges((GFN, 600))),
    GetDirtyLog(0),
    GuestWrite(page_ranges((GFN, 60))),
    HostUnmap(page_ranges((GFN + 30, 1))),
    GetDirtyLog(0),
    GetDirtyLog(0),
    SetMemoryRegion(1, 0, 4096, flags=4),
)

Spoil: TypeAlias = Callable[["Spoiled", Action, Any], Any]


class Spoiled(Machine):
    """A machine that does something wrong after each action: a service that the rules must catch."""

    def __init__(self, config: MachineConfig, spoil: Spoil) -> None:
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


def loses_a_page(core: Spoiled, action: Action, answer: Any) -> Any:
    if isinstance(action, GuestWrite):
        log = log_words(core)
        log.words[0] &= ~np.uint64(8)
        log.count = int(np.bitwise_count(log.words).sum())
    return answer


def reports_a_clean_page(_core: Spoiled, action: Action, answer: Any) -> Any:
    if isinstance(action, GetDirtyLog) and answer is not None:
        answer.bitmap[10] |= np.uint64(1 << 59)
    return answer


def leaves_a_page_writable(core: Spoiled, action: Action, answer: Any) -> Any:
    if isinstance(action, ClearDirtyLog):
        core.planes.writable[0] |= np.uint64(1)
    return answer


def forgets_to_map(core: Spoiled, action: Action, answer: Any) -> Any:
    if isinstance(action, GuestWrite):
        core.planes.writable[0] &= ~np.uint64(8)
    return answer


def looks_leave_a_mark(core: Spoiled, _action: Action, answer: Any) -> Any:
    def footprint_after(_action: SetMemoryRegion) -> Footprint:
        core._counters._add({"mmio_exits": 1})
        return core.footprint

    core.footprint_after = footprint_after  # type: ignore[method-assign, assignment]
    return answer


def counts_what_it_refused(core: Spoiled, action: Action, answer: Any) -> Any:
    if answer is None and isinstance(action, SetMemoryRegion):
        core._counters._add({"mmio_exits": 1})
    return answer


def unmaps_as_the_host_writes(core: Spoiled, action: Action, answer: Any) -> Any:
    if isinstance(action, HostWrite):
        core.planes.unmap_all()
    return answer


def miscounts_what_is_left(_core: Spoiled, _action: Action, answer: Any) -> Any:
    if isinstance(answer, DirtyLogOutcome):
        return replace(answer, remaining_count=answer.remaining_count + 1)
    return answer


def requeues_a_word_too_much(_core: Spoiled, _action: Action, answer: Any) -> Any:
    if isinstance(answer, DirtyLogOutcome) and answer.accelerator is not None:
        hook = answer.accelerator
        return replace(answer, accelerator=replace(hook, requeued=hook.requeued + 64))
    return answer


def leaves_the_unit_enabled(core: Spoiled, action: Action, answer: Any) -> Any:
    if isinstance(action, GetDirtyLog):
        core._cpus.unit(0).base = Hacdbsbr(en=True)
    return answer


def drops_a_run(core: Spoiled, _action: Action, answer: Any) -> Any:
    def stage2(gfn: int, count: int, limit: int) -> Stage2Page:
        page = Machine.stage2(core, gfn, count, limit)
        return Stage2Page(page.runs[:1] + page.runs[2:], page.next_gfn)

    core.stage2 = stage2  # type: ignore[method-assign]
    return answer


def forgets_a_plane(core: Spoiled, _action: Action, answer: Any) -> Any:
    core._footprint = replace(core._footprint, state_bytes=core._footprint.state_bytes - 88)
    return answer


def starts_counting_anew(core: Spoiled, action: Action, answer: Any) -> Any:
    if isinstance(action, GetDirtyLog):
        core._counters._counts["newly_dirty"] = 0
    return answer


SPOILS: Final[dict[type[Invariant], Spoil]] = {
    memory.NoDirtyPageIsLost: loses_a_page,
    memory.CleansOnlyWhatIsAsked: reports_a_clean_page,
    memory.WritableMeansLogged: leaves_a_page_writable,
    memory.WrittenMeansWritable: forgets_to_map,
    calls.HardwareEndsAsSoftwareDoes: leaves_a_page_writable,
    calls.LooksChangeNothing: looks_leave_a_mark,
    calls.RefusedMeansUnchanged: counts_what_it_refused,
    memory.OnlyWhatItIsFor: unmaps_as_the_host_writes,
    calls.CountsAddUp: miscounts_what_is_left,
    calls.ReportsFollowTheRule: requeues_a_word_too_much,
    calls.UnitsRestBetweenActions: leaves_the_unit_enabled,
    memory.RunsCoverTheIpaSpace: drops_a_run,
    calls.FootprintIsWhatPlanesTake: forgets_a_plane,
    calls.CountersOnlyGrow: starts_counting_anew,
}
"""For each rule a way to break it."""


def judge(invariant: Invariant, spoil: Spoil) -> None:
    """Perform the actions on a spoiled machine, with one rule to judge it and no model beside it."""
    core = Spoiled(MachineConfig(), spoil)
    # A machine is what it is, whoever spoils it: only its own state is written down.
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


def nothing(_core: Spoiled, _action: Action, answer: Any) -> Any:
    return answer


@pytest.mark.parametrize("rule", STEPWISE, ids=lambda rule: rule.__name__)
def test_a_rule_notices_the_machine_that_breaks_it(rule: type[Invariant]) -> None:
    judge(rule(), nothing)

    with pytest.raises(AssertionError):
        judge(rule(), SPOILS[rule])


def test_the_document_lists_every_rule_and_no_other() -> None:
    document = (ROOT / "docs" / "invariants.md").read_text()

    listed = re.findall(r"^### (\w+)$", document, re.MULTILINE)

    assert sorted(listed) == sorted([*(rule.__name__ for rule in STEPWISE), *BESIDE])
    assert len(set(listed)) == len(listed)


BESIDE: Final = ("AgreesWithTheModel", "SameActionsSameBytes", "NoPageIsMissed")
"""Rules that are judged elsewhere: by `Lockstep`, by two applications, by the kernel's selftest."""
