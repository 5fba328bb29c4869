"""Drives the core and the scalar model with the same actions and compares all that can be seen."""

from collections.abc import Callable
from typing import Any

import numpy as np

from hacdbs_sim.model import (
    Action,
    Bitmap,
    DirtyLog,
    GetFreePages,
    GetWrittenPages,
    LeafState,
    Stage2Run,
    VmConfig,
)
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.pages import pages_of
from tests.support.machine import Machine
from tests.support.recordings import recordings
from tests.support.scalar_model import Refused, ScalarMachine

ALL_RUNS = 1 << 62
FEW_RUNS = 2


class Lockstep:
    """A machine and its oracle; `perform` fails at the first difference.

    Args:
        config: What both are.
        core: The machine, if it is not to be a new one.
        stage2_state: Returns a value that is equal as long as the core's stage 2 is the same, so that
            it need not be read each time; without it, it is.

    Attributes:
        runs: The core's stage 2, as it was compared last.
    """

    def __init__(
        self,
        config: VmConfig,
        core: Machine | None = None,
        stage2_state: Callable[[Machine], object] | None = None,
    ) -> None:
        self.core = Machine(config, recordings) if core is None else core
        self._stage2_state = stage2_state
        self._state: object = None
        self.model = ScalarMachine(config, recordings)
        self._leaves: dict[tuple[int, int], LeafState] | None = None
        self._known: list[Stage2Run] = []
        self.runs: tuple[Stage2Run, ...] = ()
        self.compare_queries()

    def perform(self, action: Action[Any], at_once: Callable[[Machine], None] | None = None) -> Any:
        """Perform on both; return the outcome, or the code of the refusal as `Refused`.

        Args:
            action: What to do.
            at_once: Called with the core when it has acted, before anything reads it.
        """
        mine = _answer_of_model(self.model, action)
        core = _answer_of_core(self.core, action)
        if at_once is not None:
            at_once(self.core)
        assert same(core, mine), f"{action}\n core: {core}\nmodel: {mine}"
        self.compare_queries()
        return core

    def compare_queries(self) -> None:
        """Compare all queries: the whole of stage 2, the guest and its clock among them."""
        core, model = self.core, self.model
        assert core.config == model.config
        assert core.memslots() == model.memslots()
        assert core.cpus() == model.cpus()
        assert core.faults() == model.faults()
        assert core.footprint == model.footprint()
        counted = {name: count for name, count in core.counters().items() if count}
        assert counted == model.counters()
        assert core.clock() == model.clock()
        assert core.workloads() == model.workloads()
        self.same_versions()
        self.same_free_and_written_pages()
        for slot in model.memslots():
            assert core.memslot(slot.slot) == slot
            if slot.dirty_count is not None:
                seen, known = core.peek_dirty_log(slot.slot), model.peek_dirty_log(slot.slot)
                assert same(seen, known), f"peek\n core: {seen}\nmodel: {known}"
        self.same_stage2()

    def same_versions(self) -> None:
        """Compare which write last touched each page, where that is kept."""
        assert self.core.last_version == self.model.last_version()
        found = {}
        for slot in self.model.memslots():
            versions = self.core.versions(slot.slot)
            if versions is None:
                continue
            assert len(versions) == slot.npages
            for page in np.flatnonzero(versions).tolist():
                found[slot.slot, page] = int(versions[page])
        assert found == self.model.versions()

    def same_free_and_written_pages(self) -> None:
        """Compare what a migration may spare: pages given up, and pages never written."""
        for slot in self.model.memslots():
            free = self.core.query(GetFreePages(slot=slot.slot)).bitmap
            written = self.core.query(GetWrittenPages(slot=slot.slot)).bitmap
            assert _pages_of(free) == self.model.free_pages(slot.slot)
            known = self.model.written_pages(slot.slot)
            assert (None if written is None else _pages_of(written)) == known

    def same_stage2(self) -> None:
        """Compare all runs; those of a model whose leaves are as they were are not worked out anew."""
        end = (1 << self.model.config.ipa_bits) // self.model.config.page_size
        is_new = self._leaves != self.model.stage2.leaves
        if is_new:
            self._leaves = dict(self.model.stage2.leaves)
            self._known = self.model.stage2.runs(0, end)
        if self._stage2_state is not None:
            was, self._state = self._state, self._stage2_state(self.core)
            if not is_new and was == self._state:
                return
        seen = self.core.stage2(0, end, ALL_RUNS)
        assert seen.next_gfn is None
        assert list(seen.runs) == self._known
        self.runs = seen.runs
        if not is_new:
            return
        few = self.core.stage2(0, end, FEW_RUNS)
        assert list(few.runs) == self._known[:FEW_RUNS]
        more = len(self._known) > FEW_RUNS
        assert few.next_gfn == (self._known[FEW_RUNS].gfn if more else None)


def _answer_of_core(core: Machine, action: Action[Any]) -> object:
    try:
        return core.perform(action)
    except KvmError as error:
        return Refused(error.code)


def _answer_of_model(model: ScalarMachine, action: Action[Any]) -> object:
    try:
        return model.perform(action)
    except Refused as refusal:
        return refusal


def same_words(core: Bitmap | None, model: Bitmap | None) -> bool:
    """Whether two bitmaps are equal word for word, or both absent."""
    if core is None or model is None:
        return core is model
    return np.array_equal(core.words, model.words)


def same(core: object, model: object) -> bool:
    """Whether two answers are equal, bitmaps and refusals included."""
    if isinstance(core, Refused) and isinstance(model, Refused):
        return core.code == model.code
    if isinstance(core, DirtyLog) and isinstance(model, DirtyLog):
        return core == model and same_words(core.bitmap, model.bitmap)
    return type(core) is type(model) and core == model


def _pages_of(bitmap: Bitmap | None) -> set[int]:
    return set() if bitmap is None else set(pages_of(bitmap.words).tolist())
