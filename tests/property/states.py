"""What a machine shows between two actions, seen once and handed to every invariant."""

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache, cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from hacdbs_sim.model import (
    Action,
    Clock,
    CpuInfo,
    FaultInfo,
    Footprint,
    Gfns,
    GuestRun,
    GuestWrite,
    GuestWriteMemory,
    HostWrite,
    LeafState,
    MemslotInfo,
    PageSet,
    Stage2Run,
    TraceFields,
    VmConfig,
    WorkloadInfo,
    Writer,
)
from hacdbs_sim.sim.guest.patterns import PagesOf, pages_of
from hacdbs_sim.sim.guest.trace import plan_trace
from tests.support.machine import Machine
from tests.support.scalar_model import Refused

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Pages: TypeAlias = NDArray[np.bool_]
"""One truth a page of a slot."""

WRITABLE = {LeafState.READ_WRITE, LeafState.WRITABLE_DIRTY}
"""States whose S2AP[1] is 1: the guest writes through them without a fault."""

ALL_RUNS = 1 << 62


@cache
def _getter(kind: type) -> Callable[[Any], Any] | None:
    """Return what reads all fields of a dataclass with slots; None for any other class."""
    names = tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()
    return attrgetter(*names) if len(names) > 1 and hasattr(kind, "__slots__") else None


class _Pickler(pickle.Pickler):
    """Writes values with slots by their fields in order, some ten times as fast as they do it."""

    @override
    def reducer_override(self, obj: object) -> Any:
        kind: type = type(obj)
        getter = _getter(kind)
        return NotImplemented if getter is None else (_restored, (kind, getter(obj)))


def _restored(kind: "type[DataclassInstance]", values: tuple[object, ...]) -> object:
    made = kind.__new__(kind)
    for field, value in zip(fields(kind), values, strict=True):
        object.__setattr__(made, field.name, value)
    return made


def _octets_of(value: object) -> bytes:
    octets = io.BytesIO()
    _Pickler(octets, protocol=5).dump(value)
    return octets.getvalue()


def whole_state(machine: Machine) -> bytes:
    """Return the whole state of a machine, parts that no query returns included."""
    return _octets_of(machine)


def stage2_state(machine: Machine) -> bytes:
    """Return all that a machine's stage 2 is."""
    return _octets_of([slot.mappings for slot in machine._slots.by_id()])


def copy_of(state: bytes) -> Machine:
    """Make a machine of its whole state."""
    made = pickle.loads(state)  # noqa: S301 - made by this process
    assert isinstance(made, Machine)
    return made


@dataclass(frozen=True)
class Sight:
    """A machine between two actions.

    Attributes:
        state: All that it is, as bytes, written before anything read it.
    """

    state: bytes
    config: VmConfig
    slots: dict[int, MemslotInfo]
    logs: dict[int, NDArray[np.uint64]]
    units: tuple[CpuInfo, ...]
    faults: tuple[FaultInfo, ...]
    counters: dict[str, int]
    footprint: Footprint
    runs: tuple[Stage2Run, ...]
    clock: Clock
    workloads: tuple[WorkloadInfo, ...]
    versions: dict[int, NDArray[np.uint32]] | None
    last_version: int | None

    @classmethod
    def of(
        cls,
        machine: Machine,
        state: bytes | None = None,
        runs: tuple[Stage2Run, ...] | None = None,
    ) -> "Sight":
        """Query everything, but for what is known already."""
        slots = {slot.slot: slot for slot in machine.memslots()}
        logs = {}
        for slot in slots.values():
            if slot.dirty_count is not None:
                bitmap = machine.peek_dirty_log(slot.slot).bitmap
                assert bitmap is not None
                logs[slot.slot] = bitmap.words
        return cls(
            whole_state(machine) if state is None else state,
            machine.config,
            slots,
            logs,
            machine.cpus(),
            machine.faults(),
            machine.counters(),
            machine.footprint,
            machine.stage2(0, _end_gfn(machine.config), ALL_RUNS).runs if runs is None else runs,
            machine.clock(),
            machine.workloads(),
            _versions_of(machine, slots),
            machine.last_version,
        )

    @property
    def end_gfn(self) -> int:
        return _end_gfn(self.config)

    def dirty(self, slot: int) -> Pages:
        """Return the pages of a slot that its log holds."""
        return pages_of_words(self.logs[slot], self.slots[slot].npages)

    @cached_property
    def writable(self) -> dict[int, Pages]:
        """The pages that the guest may write without a fault, by slot."""
        return self._where(WRITABLE)

    @cached_property
    def mapped(self) -> dict[int, Pages]:
        """The pages that a leaf translates, by slot."""
        return self._where(set(LeafState) - {LeafState.UNMAPPED})

    def _where(self, states: set[LeafState]) -> dict[int, Pages]:
        found = {slot: np.zeros(view.npages, np.bool_) for slot, view in self.slots.items()}
        for run in self.runs:
            if run.state not in states:
                continue
            for slot, view in self.slots.items():
                first = max(run.gfn - view.base_gfn, 0)
                end = min(run.gfn + run.count - view.base_gfn, view.npages)
                if first < end:
                    found[slot][first:end] = True
        return found


@dataclass(frozen=True)
class Step:
    """One action, what came of it, and the machine before and after.

    Attributes:
        answer: The outcome, or `Refused`.
        core: The machine itself, to ask more of it.
    """

    action: Action[Any]
    answer: object
    before: Sight
    after: Sight
    core: Machine

    @cached_property
    def batches(self) -> "tuple[GuestWrite | HostWrite, ...]":
        """All pages written: the batch itself, or those of each workload in a run."""
        if isinstance(self.answer, Refused):
            return ()
        if isinstance(self.action, GuestWrite | HostWrite):
            return (self.action,)
        if isinstance(self.action, GuestWriteMemory):
            return (GuestWrite(pages=self.action.pages(self.core.config.page_size)),)
        if not isinstance(self.answer, GuestRun):
            return ()
        pairs = zip(self.before.workloads, self.after.workloads, strict=True)
        return tuple(
            _batch_of(self.core, now, was.writes, self.after.slots[now.slot])
            for was, now in pairs
            if now.writes > was.writes and now.slot in self.after.slots
        )


def _batch_of(
    core: Machine,
    workload: WorkloadInfo,
    made: int,
    slot: MemslotInfo,
) -> GuestWrite | HostWrite:
    """Return the writes from the one numbered `made` on, those left out that the slot has no page for."""
    assert workload.num_pages is not None
    assert workload.seed is not None
    if isinstance(workload, TraceFields):
        recording = core._guest_side.guest._find(workload.workload_id)._recording
        assert recording is not None
        planned: PagesOf = plan_trace(workload, recording, workload.num_pages).pages_of
    else:
        planned = pages_of(workload, workload.seed, workload.num_pages)
    pages = planned(made, workload.writes - made) + np.uint64(workload.first_page)
    gfns = Gfns(pages[pages < slot.npages] + np.uint64(slot.base_gfn))
    return GuestWrite(pages=gfns) if workload.writer is Writer.GUEST else HostWrite(pages=gfns)


def _versions_of(
    machine: Machine, slots: dict[int, MemslotInfo]
) -> dict[int, NDArray[np.uint32]] | None:
    if machine.last_version is None:
        return None
    found = {slot: machine.versions(slot) for slot in slots}
    return {slot: versions for slot, versions in found.items() if versions is not None}


def _end_gfn(config: VmConfig) -> int:
    return (1 << config.ipa_bits) // config.page_size


def pages_of_words(words: NDArray[np.uint64], npages: int) -> Pages:
    """Unpack a bitmap, one boolean a page; bits past the last page are left out."""
    octets = words.astype("<u8").view(np.uint8)
    return np.unpackbits(octets, bitorder="little")[:npages].astype(np.bool_)


def offsets_in(pages: PageSet, first: int, npages: int) -> Pages:
    """Return which pages from `first` on a batch names."""
    found = np.zeros(npages, np.bool_)
    if isinstance(pages, Gfns):
        inside = pages.gfns[(pages.gfns >= first) & (pages.gfns < first + npages)]
        found[(inside - np.uint64(first)).astype(np.intp)] = True
        return found
    for start, count in zip(pages.first.tolist(), pages.count.tolist(), strict=True):
        begin, end = max(start - first, 0), min(start + count - first, npages)
        if begin < end:
            found[begin:end] = True
    return found
