"""A story: one machine, its scalar model beside it, many actions, every invariant after each.

The outcomes of a story are counted, so that a test can require each case. A story that fails is
repeated with ever fewer actions, and the shortest one that fails is reported.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hacdbs_sim.model import (
    Action,
    AddFault,
    AddWorkload,
    DirtyLog,
    GuestRun,
    KernelProfile,
    SetCpu,
    UpdateVm,
    VmConfig,
    known,
)
from tests.oracle.shrinking import shorten
from tests.property.dice import Dice
from tests.property.invariants import STEPWISE
from tests.property.setups import draw_config
from tests.property.states import Sight, Step, stage2_state, whole_state
from tests.property.walking import Walk
from tests.support.lockstep import Lockstep
from tests.support.machine import Machine
from tests.support.recordings import recordings
from tests.support.scalar_model import Refused


def machine_of(config: VmConfig) -> Machine:
    """Make a machine that may replay what ships."""
    return Machine(config, recordings)


class Story:
    """Performs actions on a machine and on its model, and judges each."""

    def __init__(self, config: VmConfig, core: Machine | None = None) -> None:
        self._state = b""
        self._stage2 = b""
        self.both = Lockstep(config, core, self._stage2_state)
        self.config = config
        self.actions: list[Action[Any]] = []
        self.answers: list[object] = []
        self.counts: Counter[str] = Counter()
        self.invariants = [each() for each in STEPWISE]
        self.sight = Sight.of(self.both.core)

    def perform(self, action: Action[Any]) -> object:
        """Perform one action; an AssertionError says which rule it broke."""
        self.actions.append(action)
        answer = self.both.perform(action, at_once=self._see)
        self.answers.append(answer)
        before = self.sight
        self.sight = Sight.of(self.both.core, self._state, self.both.runs)
        step = Step(action, answer, before, self.sight, self.both.core)
        for invariant in self.invariants:
            invariant.after(step)
        self._count(step)
        return answer

    def _see(self, core: Machine) -> None:
        """Write the machine down before anything reads it."""
        was, self._state = self._state, whole_state(core)
        if was != self._state:
            self._stage2 = stage2_state(core)

    def _stage2_state(self, _core: Machine) -> bytes:
        return self._stage2

    def _count(self, step: Step) -> None:
        name = _counted(step.action)
        refused = isinstance(step.answer, Refused)
        self.counts[f"{name} {'refused' if refused else 'done'}"] += 1
        if isinstance(step.answer, Refused):
            self.counts[f"refused: {step.answer.code}"] += 1
        if isinstance(step.action, SetCpu) and not refused:
            self.counts["cpu plugged" if step.action.online else "cpu unplugged"] += 1
        hits = {fault.fault_id: fault.hits for fault in step.before.faults}
        for fault in step.after.faults:
            if fault.hits > hits.get(fault.fault_id, 0):
                self.counts[f"hit: {fault.type.value}"] += 1
        if isinstance(step.answer, GuestRun):
            self._count_run(step, step.answer)
        if isinstance(step.answer, DirtyLog) and step.answer.accelerator is not None:
            report = step.answer.accelerator
            self.counts[f"hook: {report.outcome.value}"] += 1
            self.counts[f"errno: {report.errno}"] += 1
            self.counts["several runs"] += report.batches > 1
            self.counts["hook split blocks"] += report.blocks_split > 0
            self.counts["software split blocks"] += known(step.answer.software).blocks_split > 0
            self.counts["frontier in mid word"] += report.requeued > report.entries - report.cleaned
            if report.error is not None:
                self.counts[f"stopped: {report.error.reason.value}"] += 1

    def _count_run(self, step: Step, run: GuestRun) -> None:
        for was, now in zip(step.before.workloads, step.after.workloads, strict=True):
            if now.writes > was.writes:
                self.counts[f"{now.kind.value} wrote"] += 1
                self.counts[f"the {now.writer.value} wrote"] += 1
                self.counts["a burst wrote"] += now.burst is not None
        self.counts["pages were gone"] += run.skipped > 0
        self.counts["faults stalled"] += run.stalled_ns > 0
        self.counts["throttled"] += run.throttled_ns > 0
        self.counts["several slices"] += run.slices > 1
        self.counts["versions were kept"] += step.after.versions is not None and run.writes > 0


def counted_as(kind: type[Action[Any]]) -> str:
    """Return the name that an action is counted under: faults and workloads by their base."""
    of = next((base for base in (AddFault, AddWorkload) if issubclass(kind, base)), kind)
    return of.__name__


def _counted(action: Action[Any]) -> str:
    if not isinstance(action, UpdateVm):
        return counted_as(type(action))
    given = [name for name in action.one_of if getattr(action, name) is not None]
    return " ".join(["UpdateVm", *given])


def draw_story(dice: Dice, page_size: int, kernel: KernelProfile, scale: str, steps: int) -> Story:
    """Draw a machine and a story of so many steps; raise its shortest form if it fails."""
    config = draw_config(dice, page_size, kernel)
    story = Story(config)
    walk = Walk(dice, story.both.model, scale)
    try:
        story.perform(walk.create())
        while len(story.actions) < steps:
            for action in walk.next(walk.kind()):
                story.perform(action)
    except Exception as error:
        actions = shortest(config, story.actions)
        raise AssertionError(transcript(config, actions)) from error
    return story


def shortest(config: VmConfig, actions: Sequence[Action[Any]]) -> tuple[Action[Any], ...]:
    """Take actions away as long as what is left still fails, whichever rule it breaks."""
    return shorten(tuple(actions), lambda some: failure_of(config, some) is not None)


def failure_of(
    config: VmConfig,
    actions: Sequence[Action[Any]],
    make: Callable[[VmConfig], Machine] = machine_of,
) -> Exception | None:
    """Repeat a story; return what it fails with, or None."""
    try:
        story = Story(config, make(config))
        for action in actions:
            story.perform(action)
    except Exception as error:  # noqa: BLE001 - whatever the core raises is a failure
        return error
    return None


def transcript(config: VmConfig, actions: Sequence[Action[Any]]) -> str:
    """Write a story down as the values that repeat it."""
    with np.printoptions(threshold=10_000):
        return "\n".join(["a story fails:", repr(config), *map(repr, actions)])
