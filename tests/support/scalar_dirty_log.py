"""Get and clear of one slot's dirty log: the accelerated routine, then the software loop.

The routine takes the log word by word, fills one array of entries (which keeps its old contents
between runs, as memory does), runs the unit whenever it is full, and on a failure puts the entries
not processed and the rest of the word back (docs/kernel.md C.4, steps 6 and 8). No figure here
comes from a formula: each is counted where it happens.
"""

from dataclasses import dataclass, field

import numpy as np

from hacdbs_sim.model import (
    AcceleratorOutcome,
    AcceleratorReport,
    EntryError,
    Errno,
    ErrorReason,
    FaultType,
    KernelProfile,
    RunTrace,
    SoftwareReport,
    VmConfig,
)
from tests.support.scalar_faults import ENTRY_FAULTS, Call, ScalarFault, ScalarFaults
from tests.support.scalar_memslots import ScalarMemslot
from tests.support.scalar_stage2 import ScalarStage2
from tests.support.scalar_unit import STOP_TTWL, ScalarUnit, encode_entry

TRACED_RUNS = 4096


@dataclass(slots=True)
class Window:
    """Words [start, start + len(user)) of a slot's log; `user` masks a clear, None is a get."""

    start: int
    count: int
    user: list[int] | None = None


@dataclass(slots=True)
class LogCall:
    """What one get or clear knows and has counted so far."""

    call: Call
    slot: ScalarMemslot
    window: Window
    in_init_set_mode: bool
    chunk: int
    unit: ScalarUnit
    snapshot: dict[int, int] = field(default_factory=dict)
    array: list[int] = field(default_factory=list)
    entry_faults: list[ScalarFault] = field(default_factory=list)
    lost_faults: list[ScalarFault] = field(default_factory=list)
    split_faults: list[ScalarFault] = field(default_factory=list)
    split_hits: list[ScalarFault] = field(default_factory=list)
    batches: int = 0
    entries: int = 0
    cleaned: int = 0
    requeued: int = 0
    blocks_split: int = 0
    error: EntryError | None = None
    trace: list[RunTrace] = field(default_factory=list)


class ScalarDirtyLog:
    """The cleaning of dirty logs of one VM."""

    def __init__(self, config: VmConfig, stage2: ScalarStage2, faults: ScalarFaults) -> None:
        self.config = config
        self.stage2 = stage2
        self.faults = faults

    def clean(self, log: LogCall, *, trace: bool) -> tuple[AcceleratorReport, SoftwareReport, bool]:
        """Clean a window: the hook first, then software for what the hook leaves; and the flush."""
        errno = self._hook(log)
        if log.in_init_set_mode:
            log.split_faults = self.faults.firing((FaultType.SPLIT_ENOMEM,), log.call)
        if errno is None:
            errno = self._accelerate(log)
        software = SoftwareReport() if errno is None else self._software(log)
        for fault in log.split_hits:
            fault.hit(log.call, gfn=fault.place.gfn)
        flush = log.cleaned + software.words > 0
        return _report(log, errno, trace=trace), software, flush

    def _hook(self, log: LogCall) -> str | None:
        """Go through the hook's own conditions; an errno declines."""
        if not self.config.features.hacdbs:
            return "ENXIO"
        if log.unit.status != "IDLE" or self._strikes(FaultType.UNIT_BUSY, log):
            return "EPERM"
        if not self.config.features.dbm:
            return "EPERM"
        if self._strikes(FaultType.ENTRIES_ENOMEM, log):
            return "ENOMEM"
        log.array = [0] * (self.config.page_size // 8)
        firing = self.faults.firing((*ENTRY_FAULTS, FaultType.LOST_INTERRUPT), log.call)
        log.lost_faults = [f for f in firing if f.spec.type is FaultType.LOST_INTERRUPT]
        log.entry_faults = [f for f in firing if f.spec.type is not FaultType.LOST_INTERRUPT]
        return None

    def _strikes(self, kind: FaultType, log: LogCall) -> bool:
        firing = self.faults.firing((kind,), log.call)
        if firing:
            firing[0].hit(log.call)
        return bool(firing)

    def _accelerate(self, log: LogCall) -> str | None:
        size = len(log.array)
        idx = 0
        done = 0
        for word in range(log.window.start, log.window.start + log.window.count):
            mask = _take(log, word)
            if not mask:
                continue
            if log.in_init_set_mode:
                log.blocks_split += self._split(log, word, mask)
            while mask:
                bit = (mask & -mask).bit_length() - 1
                mask &= mask - 1
                gfn = log.slot.base_gfn + word * 64 + bit
                log.array[idx] = encode_entry(gfn * self.config.page_size, self._ttwl(log.chunk))
                idx += 1
                if idx == size:
                    done = self._run(log, idx)
                    if log.error is not None:
                        self._put_back(log, done, idx)
                        _put_back_mask(log, word, mask)
                        return "EAGAIN"
                    idx = 0
        if idx:
            done = self._run(log, idx)
            if log.error is not None:
                self._put_back(log, done, idx)
                return "EAGAIN"
        # The posted routine compares the last run's answer with an index that a full array has just
        # reset (docs/kernel.md C.5 a).
        spurious = self.config.kernel is KernelProfile.V1 and done != idx
        return "EAGAIN" if spurious else None

    def _ttwl(self, chunk: int) -> int:
        if self.config.kernel is KernelProfile.V1:
            for level, pages in self.stage2.pages_at.items():
                if chunk == pages * self.config.page_size:
                    return level
        return 3

    def _run(self, log: LogCall, size: int) -> int:
        """Run the unit on the first `size` entries of the array; return how many it cleaned."""
        if size < len(log.array):
            log.array[size] = encode_entry(0, STOP_TTWL)
        batch = log.batches
        struck: list[ScalarFault] = []

        def strike(index: int, gfn: int) -> str | None:
            here = [f for f in log.entry_faults if _is_at(f, batch, index, gfn)]
            if not here:
                return None
            struck.append(min(here, key=lambda f: (ENTRY_FAULTS.index(f.spec.type), f.ordinal)))
            return struck[0].spec.type.value.upper()

        reason, index = log.unit.run(log.array, self.stage2, strike)
        gfn = self._gfn(log.array[index]) if index < size else None
        lost = [f for f in log.lost_faults if (f.place.batch or 0) == batch]
        for fault in struck + lost[:1]:
            fault.hit(log.call, batch=batch, index=index, gfn=gfn)
        if lost:
            log.error = EntryError(
                reason=ErrorReason.LOST_INTERRUPT, batch=batch, index=index, gfn=gfn
            )
        elif index < size:
            log.error = EntryError(reason=ErrorReason(reason), batch=batch, index=index, gfn=gfn)
        first, last = self._gfn(log.array[0]), self._gfn(log.array[size - 1])
        log.trace.append(
            RunTrace(
                size=size, cleaned=index, first_gfn=first, last_gfn=last, ttwl=self._ttwl(log.chunk)
            )
        )
        log.batches += 1
        log.entries += size
        log.cleaned += index
        log.unit.runs += 1
        log.unit.entries += size
        log.unit.cleaned += index
        log.unit.interrupts += not lost
        return index

    def _gfn(self, entry: int) -> int:
        return (entry & ((1 << 56) - 1)) // self.config.page_size

    def _put_back(self, log: LogCall, done: int, size: int) -> None:
        for entry in log.array[done:size]:
            _dirty(log).add(self._gfn(entry) - log.slot.base_gfn)
            log.requeued += 1

    def _split(self, log: LogCall, word: int, mask: int) -> int:
        first, end = _interval(log, word, mask)

        def fails(start: int, stop: int) -> bool:
            here = [
                fault
                for fault in log.split_faults
                if fault.place.gfn is None or start <= fault.place.gfn < stop
            ]
            log.split_hits.extend(fault for fault in here if fault not in log.split_hits)
            return bool(here)

        return self.stage2.split(first, end, log.chunk, fails)

    def _software(self, log: LogCall) -> SoftwareReport:
        words = pages = write_protected = blocks_split = 0
        for word in range(log.window.start, log.window.start + log.window.count):
            mask = _take(log, word)
            if not mask:
                continue
            words += 1
            pages += mask.bit_count()
            write_protected += self.stage2.write_protect(*_interval(log, word, mask))
            if log.in_init_set_mode:
                blocks_split += self._split(log, word, mask)
        return SoftwareReport(
            ran=True,
            words=words,
            pages=pages,
            write_protected=write_protected,
            blocks_split=blocks_split,
        )


def _dirty(log: LogCall) -> set[int]:
    assert log.slot.dirty is not None
    return log.slot.dirty


def _take(log: LogCall, word: int) -> int:
    """Take a word's pages from the log, those of the user's mask in a clear; keep a get's copy."""
    dirty = _dirty(log)
    mask = 0
    for bit in range(64):
        if word * 64 + bit in dirty:
            mask |= 1 << bit
    if log.window.user is not None:
        mask &= log.window.user[word - log.window.start]
    dirty.difference_update(word * 64 + bit for bit in range(64) if mask >> bit & 1)
    log.snapshot[word] = log.snapshot.get(word, 0) | mask
    return mask


def _put_back_mask(log: LogCall, word: int, mask: int) -> None:
    for bit in range(64):
        if mask >> bit & 1:
            _dirty(log).add(word * 64 + bit)
            log.requeued += 1


def _interval(log: LogCall, word: int, mask: int) -> tuple[int, int]:
    """Return [first, end) in gfns from a word's first page to its last."""
    base = log.slot.base_gfn + word * 64
    return base + (mask & -mask).bit_length() - 1, base + mask.bit_length()


def _is_at(fault: ScalarFault, batch: int, index: int, gfn: int) -> bool:
    when = fault.place
    if when.gfn is not None:
        return when.gfn == gfn
    return (when.batch or 0, when.index or 0) == (batch, index)


def _report(log: LogCall, errno: str | None, *, trace: bool) -> AcceleratorReport:
    if errno is None:
        outcome = AcceleratorOutcome.CLEANED
    elif errno == "EAGAIN":
        outcome = AcceleratorOutcome.PARTIAL
    else:
        outcome = AcceleratorOutcome.DECLINED
    return AcceleratorReport(
        cpu=log.unit.cpu,
        outcome=outcome,
        errno=None if errno is None else Errno(errno),
        batches=log.batches,
        entries=log.entries,
        cleaned=log.cleaned,
        requeued=log.requeued,
        blocks_split=log.blocks_split,
        error=log.error,
        trace=tuple(log.trace[:TRACED_RUNS]) if trace else None,
        trace_omitted=max(0, len(log.trace) - TRACED_RUNS) if trace else None,
    )


def to_words(offsets: set[int], npages: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Return the ioctl's bitmap of a set of page offsets."""
    words = [0] * -(-npages // 64)
    for offset in offsets:
        words[offset // 64] |= 1 << offset % 64
    return np.array(words, dtype=np.uint64)
