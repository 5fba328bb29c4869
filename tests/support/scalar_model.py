"""A whole VM in plain Python: the independent oracle of the core.

`ScalarMachine` performs the same actions as `hacdbs_sim.sim.machine.Machine` and answers the same values,
from typing import Any
from dicts, sets and loops over single pages and entries. It imports nothing of the core but the
model, and the table of Zipf's law. Where a figure in the core follows from a closed form, here it is counted step by step.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from hacdbs_sim.model import (
    AccessOutcome,
    Action,
    AddFault,
    AddWorkload,
    AdvanceClock,
    Bitmap,
    ClearDirtyLog,
    Clock,
    CpuInfo,
    DeleteFault,
    DeleteFaults,
    DeleteMemslot,
    DeleteWorkload,
    DeleteWorkloads,
    DirtyLog,
    FaultInfo,
    FaultType,
    Footprint,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    GuestWriteMemory,
    HintFree,
    HostDiscard,
    HostUnmap,
    HostWrite,
    LogOp,
    MemslotInfo,
    NeedVersions,
    PageRanges,
    RunGuest,
    SetCpu,
    SetMemslot,
    TrackVersions,
    UpdateVm,
    VmConfig,
    WorkloadInfo,
)
from tests.support.scalar_accesses import Access, ScalarAccesses, each_page, written
from tests.support.scalar_counters import ScalarCounters
from tests.support.scalar_dirty_log import LogCall, ScalarDirtyLog, Window, to_words
from tests.support.scalar_faults import Call, ScalarFaults
from tests.support.scalar_guest import (
    Recordings,
    ScalarFreePages,
    ScalarGuest,
    ScalarVersions,
    no_recordings,
)
from tests.support.scalar_memslots import SLOT_IDS, ScalarMemslot, ScalarMemslots
from tests.support.scalar_refusal import Refused
from tests.support.scalar_stage2 import ScalarStage2
from tests.support.scalar_unit import ScalarUnit

__all__ = ["Refused", "ScalarMachine"]


class ScalarMachine:
    """One simulated VM; a refused action raises `Refused`."""

    def __init__(self, config: VmConfig, recordings: Recordings = no_recordings) -> None:
        self.config = config
        self.stage2 = ScalarStage2(config.page_size, dbm=config.features.dbm)
        self.counted = ScalarCounters()
        self.slots = ScalarMemslots(config, self.stage2, self.counted)
        self.accesses = ScalarAccesses(config, self.slots, self.stage2)
        self.armed = ScalarFaults(config)
        self.log = ScalarDirtyLog(config, self.stage2, self.armed)
        self.units = [ScalarUnit(cpu, built=config.features.hacdbs) for cpu in range(config.cpus)]
        self.turn = 0
        self.guest = ScalarGuest(config, self.slots, self._access, recordings)
        self.kept: ScalarVersions | None = None
        self.free = ScalarFreePages(self.slots)
        self.has_written = False
        self.is_tracking = False
        self.next_since = 0
        self.keepers = 0

    def perform(self, action: Action[Any]) -> object:  # noqa: C901, PLR0912 - one case an action
        """Do one action and answer as the core does."""
        outcome: object = None
        match action:
            case SetMemslot():
                outcome = self._set_region(action)
            case DeleteMemslot():
                outcome = self._set_region(
                    SetMemslot(slot=action.slot, guest_phys_addr=0, memory_size=0),
                )
            case UpdateVm():
                self._update(action)
            case (
                GuestWrite() | GuestRead() | HostWrite() | HostUnmap() | HostDiscard() | HintFree()
            ):
                outcome = self._access(action)
            case GuestWriteMemory():
                outcome = self._access(written(action, self.config.page_size))
            case GetDirtyLog():
                outcome = self._get(action)
            case ClearDirtyLog():
                outcome = self._clear(action)
            case SetCpu():
                outcome = self._set_online(action)
            case AddFault():
                outcome = self.armed.arm(action)
            case DeleteFault():
                outcome = self.armed.disarm(action.fault_id)
            case DeleteFaults():
                self.armed.armed.clear()
            case TrackVersions():
                self._track(enabled=action.enabled)
            case NeedVersions():
                self._need(needed=action.needed)
            case AddWorkload() | DeleteWorkload() | DeleteWorkloads() | AdvanceClock() | RunGuest():
                outcome = self.guest.perform(action)
            case _:
                raise AssertionError(f"the model does not know {action}")
        return outcome

    def memslots(self) -> tuple[MemslotInfo, ...]:
        return tuple(self.slots.by_id[slot].view() for slot in sorted(self.slots.by_id))

    def cpus(self) -> tuple[CpuInfo, ...]:
        return tuple(unit.view() for unit in self.units)

    def faults(self) -> tuple[FaultInfo, ...]:
        return tuple(fault.view() for fault in self.armed.armed.values())

    def counters(self) -> dict[str, int]:
        """Return the counts that are not 0."""
        return self.counted.read()

    def footprint(self) -> Footprint:
        """Return what the slots take: 3 planes and a log of words, a byte for each block; traces and versions."""
        pages, state_bytes = 0, self.guest.state_bytes()
        for slot in self.slots.by_id.values():
            words = -(-slot.npages // 64)
            planes = 3 if slot.dirty is None else 4
            blocks = sum(slot.npages // each for each in self.stage2.pages_at.values() if each > 1)
            pages += slot.npages
            state_bytes += planes * 8 * words + blocks
        versions = 0 if self.kept is None else 4 * pages
        state_bytes += self.free.state_bytes()
        return Footprint(pages=pages, state_bytes=state_bytes + versions)

    def clock(self) -> Clock:
        return self.guest.clock()

    def workloads(self) -> tuple[WorkloadInfo, ...]:
        return self.guest.views()

    def last_version(self) -> int | None:
        return None if self.kept is None else self.kept.last

    def versions(self) -> dict[tuple[int, int], int]:
        """Return the versions that are not 0, by slot and page."""
        return {} if self.kept is None else self.kept.by_page

    def free_pages(self, slot: int) -> set[int]:
        """Return the pages of a slot that the guest gave up."""
        return self.free.by_slot.get(slot, set())

    def written_pages(self, slot: int) -> set[int] | None:
        """Return the pages of a slot that have been written; None: not all writes were counted."""
        if self.kept is None or slot in self.kept.incomplete:
            return None
        return {page for of_slot, page in self.kept.by_page if of_slot == slot}

    def peek_dirty_log(self, slot_id: int) -> DirtyLog:
        slot = self.slots.with_log(slot_id)
        return _copy_of(slot)

    def _set_region(self, action: SetMemslot) -> object:
        outcome = self.slots.set_region(action, *self._capabilities())
        if self.kept is not None:
            self.kept.follow()
        self.free.follow()
        return outcome

    def _track(self, *, enabled: bool) -> None:
        self.is_tracking = enabled
        self._follow_tracking()

    def _need(self, *, needed: bool) -> None:
        self.keepers = self.keepers + 1 if needed else max(self.keepers - 1, 0)
        self._follow_tracking()

    def _follow_tracking(self) -> None:
        if not (self.is_tracking or self.keepers):
            if self.kept is not None:
                self.next_since = self.kept.last + 1
            self.kept = None
        elif self.kept is None:
            self.kept = ScalarVersions(
                self.slots, is_complete=not self.has_written, since=self.next_since
            )

    def _access(self, action: Access) -> AccessOutcome:
        outcome = self.accesses.perform(action)
        if not isinstance(action, HintFree):
            self.counted.access(action, outcome)
        match action:
            case GuestWrite() | HostWrite():
                self.has_written = True
                self.free.drop(each_page(action.pages))
                if self.kept is not None:
                    self.kept.stamp(each_page(action.pages))
            case HostDiscard() | HintFree():
                self.free.add(each_page(action.pages))
            case _:
                pass
        return outcome

    def _capabilities(self) -> tuple[int, int]:
        return self.config.manual_dirty_log_protect2, self.config.eager_split_chunk_size

    def _update(self, action: UpdateVm) -> None:
        flags, chunk = action.manual_dirty_log_protect2, action.eager_split_chunk_size
        if (flags is None) == (chunk is None):
            raise Refused("invalid_argument")
        if flags is not None:
            self._set_manual_protect(flags)
        if chunk is not None:
            self._set_chunk(chunk)

    def _set_manual_protect(self, flags: int) -> None:
        if flags not in {0, 1, 3}:
            raise Refused("invalid_argument")
        self.config = replace(self.config, manual_dirty_log_protect2=flags)

    def _set_chunk(self, chunk: int) -> None:
        if self.slots.by_id:
            raise Refused("memslots_present")
        sizes = [pages * self.config.page_size for pages in self.stage2.pages_at.values()]
        if chunk not in {0, *sizes}:
            raise Refused("invalid_argument")
        self.config = replace(self.config, eager_split_chunk_size=chunk)

    def _set_online(self, action: SetCpu) -> CpuInfo:
        self._refuse_absent_cpu(action.cpu)
        online = [unit.cpu for unit in self.units if unit.online]
        if not action.online and online == [action.cpu]:
            raise Refused("last_online_cpu")
        self.units[action.cpu].online = action.online
        return self.units[action.cpu].view()

    def _refuse_absent_cpu(self, cpu: int | None) -> None:
        if cpu is not None and not 0 <= cpu < len(self.units):
            raise Refused("no_such_cpu")

    def _get(self, action: GetDirtyLog) -> DirtyLog:
        self._refuse_absent_cpu(action.cpu)
        if not 0 <= action.slot < SLOT_IDS:
            raise Refused("invalid_argument")
        slot = self.slots.with_log(action.slot)
        manual, _chunk = self._capabilities()
        if manual & 1:
            self._copy_to_user(Call(LogOp.GET, action.slot, action.cpu))
            self.counted.copied()
            return _copy_of(slot)
        window = Window(start=0, count=-(-slot.npages // 64))
        log = self._log_call(LogOp.GET, slot, window, action.cpu)
        accelerator, software, flush = self.log.clean(log, trace=action.trace)
        self.counted.cleaning(LogOp.GET, accelerator, software, flush=flush)
        self._copy_to_user(log.call)
        bitmap = Bitmap(np.array([log.snapshot[word] for word in range(window.count)], np.uint64))
        return DirtyLog(
            slot=slot.slot,
            first_page=0,
            num_pages=slot.npages,
            bitmap=bitmap,
            dirty_count=sum(mask.bit_count() for mask in log.snapshot.values()),
            remaining_count=len(slot.dirty or ()),
            accelerator=accelerator,
            software=software,
            flush_tlb=flush,
        )

    def _clear(self, action: ClearDirtyLog) -> DirtyLog:
        self._refuse_absent_cpu(action.cpu)
        if not 0 <= action.slot < SLOT_IDS or action.first_page % 64:
            raise Refused("invalid_argument")
        slot = self.slots.with_log(action.slot)
        first = action.first_page
        num = slot.npages - first if action.num_pages is None else action.num_pages
        reaches_end = first + num == slot.npages
        if first > slot.npages or num > slot.npages - first or (num % 64 and not reaches_end):
            raise Refused("window_outside_memslot")
        window = Window(first // 64, -(-num // 64), _user_words(action.pages, first, num))
        log = self._log_call(LogOp.CLEAR, slot, window, action.cpu)
        before = len(slot.dirty or ())
        accelerator, software, flush = self.log.clean(log, trace=action.trace)
        self.counted.cleaning(LogOp.CLEAR, accelerator, software, flush=flush)
        after = len(slot.dirty or ())
        return DirtyLog(
            slot=slot.slot,
            first_page=first,
            num_pages=num,
            bitmap=None,
            dirty_count=before - after,
            remaining_count=after,
            accelerator=accelerator,
            software=software,
            flush_tlb=flush,
        )

    def _log_call(self, op: LogOp, slot: ScalarMemslot, window: Window, cpu: int | None) -> LogCall:
        unit = self._next_unit() if cpu is None else self.units[cpu]
        manual, chunk = self._capabilities()
        return LogCall(
            call=Call(op, slot.slot, unit.cpu),
            slot=slot,
            window=window,
            in_init_set_mode=manual == 3 and chunk != 0,
            chunk=chunk,
            unit=unit,
        )

    def _next_unit(self) -> ScalarUnit:
        """Return the online CPU whose turn it is, and pass the turn on."""
        while not self.units[self.turn].online:
            self.turn = (self.turn + 1) % len(self.units)
        unit = self.units[self.turn]
        self.turn = (self.turn + 1) % len(self.units)
        return unit

    def _copy_to_user(self, call: Call) -> None:
        firing = self.armed.firing((FaultType.COPY_TO_USER,), call)
        if firing:
            firing[0].hit(call)
            raise Refused("copy_to_user_failed")


def _copy_of(slot: ScalarMemslot) -> DirtyLog:
    dirty = slot.dirty or set()
    return DirtyLog(
        slot=slot.slot,
        first_page=0,
        num_pages=slot.npages,
        bitmap=Bitmap(to_words(dirty, slot.npages)),
        dirty_count=len(dirty),
        remaining_count=len(dirty),
    )


def _user_words(pages: Bitmap | PageRanges, first: int, num: int) -> list[int]:
    words = -(-num // 64)
    if isinstance(pages, Bitmap):
        if len(pages.words) != words:
            raise Refused("invalid_argument")
        return [int(word) for word in pages.words]
    pairs = zip(pages.first.tolist(), pages.count.tolist(), strict=True)
    if any(start < first or start + count > first + num for start, count in pairs):
        raise Refused("invalid_argument")
    offsets = {page - first for page in each_page(pages)}
    return [int(word) for word in to_words(offsets, num)]
