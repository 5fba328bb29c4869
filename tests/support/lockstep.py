"""Drives the core and the scalar model with the same actions and compares all that can be seen."""

from dataclasses import fields
from typing import Any

import numpy as np

from app.sim.actions import Action, DirtyLogOutcome, MachineConfig
from app.sim.base.errors import KvmError
from app.sim.machine import Machine
from tests.support.scalar_model import Refused, ScalarMachine

ALL_RUNS = 1 << 62
FEW_RUNS = 2


class Lockstep:
    """A machine and its oracle; `perform` fails at the first difference."""

    def __init__(self, config: MachineConfig) -> None:
        self.core = Machine(config)
        self.model = ScalarMachine(config)
        self.same_looks()

    def perform(self, action: Action) -> Any:
        """Perform on both; give the outcome, or the code of the refusal as `Refused`."""
        mine = _answer_of_model(self.model, action)
        core = _answer_of_core(self.core, action)
        assert same(core, mine), f"{action}\n core: {core}\nmodel: {mine}"
        self.same_looks()
        return core

    def same_looks(self) -> None:
        """Compare capabilities, slots, logs, CPUs, faults and the whole of stage 2."""
        core, model = self.core, self.model
        assert core.config == model.config
        assert core.memslots() == model.memslots()
        assert core.cpus() == model.cpus()
        assert core.faults() == model.faults()
        for slot in model.memslots():
            assert core.memslot(slot.slot) == slot
            if slot.dirty_count is not None:
                seen, known = core.peek_dirty_log(slot.slot), model.peek_dirty_log(slot.slot)
                assert same(seen, known), f"peek\n core: {seen}\nmodel: {known}"
        self.same_stage2()

    def same_stage2(self) -> None:
        end = (1 << self.model.config.ipa_bits) // self.model.config.page_size
        known = self.model.stage2.runs(0, end)
        seen = self.core.stage2(0, end, ALL_RUNS)
        assert seen.next_gfn is None
        assert list(seen.runs) == known
        few = self.core.stage2(0, end, FEW_RUNS)
        assert list(few.runs) == known[:FEW_RUNS]
        assert few.next_gfn == (known[FEW_RUNS].gfn if len(known) > FEW_RUNS else None)


def _answer_of_core(core: Machine, action: Action) -> object:
    try:
        return core.perform(action)
    except KvmError as error:
        return Refused(error.code)


def _answer_of_model(model: ScalarMachine, action: Action) -> object:
    try:
        return model.perform(action)
    except Refused as refusal:
        return refusal


def same(core: object, model: object) -> bool:
    """Whether two answers are equal, bitmaps and refusals included."""
    if isinstance(core, Refused) and isinstance(model, Refused):
        return core.code == model.code
    if isinstance(core, DirtyLogOutcome) and isinstance(model, DirtyLogOutcome):
        pairs = [(getattr(core, f.name), getattr(model, f.name)) for f in fields(core)]
        return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)
    return core == model
