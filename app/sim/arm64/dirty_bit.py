"""The accelerated clear: what the patch does entry by entry, in closed form (design.md 3.1).

Theory of operation. What a call comes to follows from the rank of the first entry that cannot be
cleaned; clear_plan.py works that out, with the words used here (T, n, rank, run, frontier F).

An entry is judged at its run, after every split asked for up to F; but the split that decides is its
own word's, so all entries can be judged at once before anything is touched. Then the call acts on
whole words: split up to F, clean below r, take up to F.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from app.sim.arm64.clear_plan import ClearPlan, Stop, plan_clear
from app.sim.arm64.entries import Entries
from app.sim.arm64.faults import ENTRY_FAULTS, ArmedFault, FaultCall, FaultType
from app.sim.arm64.hacdbs import Unit, UnitStatus
from app.sim.arm64.stage2 import Splitting, Stage2
from app.sim.arm64.sysregs import ErrReason
from app.sim.base.errors import Errno
from app.sim.base.units import BLOCK_SIZES_BYTES, PAGE_LEVEL, entries_per_array
from app.sim.base.words import WordMask
from app.sim.kvm.dirty_bitmap import LogWindow
from app.sim.kvm.hook import (
    AcceleratorOutcome,
    AcceleratorReport,
    EntryError,
    ErrorReason,
    RunTrace,
)

MAX_TRACED_RUNS: Final = 4096

TILE_WORDS: Final = 1 << 14
"""Words cleaned in one go: 128 KiB of each plane, so that a tile's planes share an L2 cache."""

NEVER: Final = 1 << 63
"""A rank that no entry has."""


class KernelProfile(StrEnum):
    """Which kernel the hook behaves like: corrected, or the posted patch with its defects."""

    FIXED = "fixed"
    V1 = "v1"


@dataclass(frozen=True, slots=True)
class ClearConfig:
    """What the hook knows of the VM."""

    page_size: int
    dbm: bool
    hacdbs: bool
    kernel: KernelProfile

    @property
    def array_entries(self) -> int:
        """Value of n."""
        return entries_per_array(self.page_size)

    @property
    def array_sz(self) -> int:
        """Value of HACDBSBR_EL2.SZ for an array of one page."""
        return self.page_size.bit_length() - 13

    def ttwl(self, chunk_size_bytes: int) -> int:
        """Give the level of every entry; v1 takes it from the chunk size (domain.md C.2)."""
        if self.kernel is KernelProfile.V1:
            for level, size in BLOCK_SIZES_BYTES[self.page_size].items():
                if chunk_size_bytes == size:
                    return level
        return PAGE_LEVEL


class AcceleratedClear:
    """The arm64 side of one get or clear of one slot: the hook, and what the software loop needs.

    Implements `app.sim.kvm.hook.DirtyCleaner`.

    Args:
        config: What the VM is.
        stage2: The slot's leaves.
        base_gfn: The slot's first guest frame.
        unit: The CPU that the call runs on.
        faults: The faults that are for this call.
        chunk_size_bytes: The VM's eager-split chunk size.
        splits_lazily: Whether gets and clears split blocks (manual protect and initially set).
        trace: Whether to report the runs one by one.
    """

    def __init__(
        self,
        config: ClearConfig,
        stage2: Stage2,
        base_gfn: int,
        unit: Unit,
        faults: FaultCall,
        *,
        chunk_size_bytes: int,
        splits_lazily: bool,
        trace: bool,
    ) -> None:
        self._config = config
        self._stage2 = stage2
        self._base_gfn = base_gfn
        self._unit = unit
        self._faults = faults
        self._ttwl = config.ttwl(chunk_size_bytes)
        self._trace = trace
        self._split_faults: list[ArmedFault] = []
        self._splitting: Splitting | None = None
        if splits_lazily and chunk_size_bytes:
            self._split_faults = faults.firing(FaultType.SPLIT_ENOMEM)
            gfns = [fault.spec.when.gfn for fault in self._split_faults]
            self._splitting = Splitting(
                chunk_size_bytes,
                all_fail=None in gfns,
                failing_pages=tuple(gfn - base_gfn for gfn in gfns if gfn is not None),
            )

    def dirty_log_clear(self, window: LogWindow) -> AcceleratorReport:
        """Clean the window by this CPU's unit (kvm_arch_dirty_log_clear); see `DirtyCleaner`."""
        cpu = self._unit.cpu
        errno = self._declines()
        if errno is not None:
            return AcceleratorReport(
                cpu, AcceleratorOutcome.DECLINED, errno, trace=() if self._trace else None
            )
        armed = self._faults.firing(*ENTRY_FAULTS)
        lost = self._lost_run()
        if window.is_clean:
            return AcceleratorReport(
                cpu, AcceleratorOutcome.CLEANED, trace=() if self._trace else None
            )
        words, cleaned_before = self._clean_tiles(window, self._horizon(armed, lost))
        entries = Entries(window.masked(words), cleaned_before)
        plan = self._plan(entries, armed, lost)
        taken = entries.words_of_first(plan.entries)
        blocks_split = self.split_blocks(taken.mask)
        cleaned = entries.first(plan.cleaned)
        self._stage2.clean(cleaned.mask, self._ttwl)
        window.take(taken.mask, taken.total - taken.before)
        if plan.gave_up:
            window.put_back(taken.but_first(cleaned))
        if plan.runs:
            self._unit.account(plan.walk(), self._config.array_sz)
        error = self._error(plan, entries)
        # A short count of the last array is what the routine tests, so v1 takes a last array that
        # was full for a failure (domain.md C.5 a).
        spurious = self._config.kernel is KernelProfile.V1 and plan.ends_full
        partial = plan.gave_up or spurious
        trace, omitted = self._traced(plan, entries) if self._trace else (None, 0)
        return AcceleratorReport(
            cpu,
            AcceleratorOutcome.PARTIAL if partial else AcceleratorOutcome.CLEANED,
            Errno.EAGAIN if partial else None,
            batches=plan.runs,
            entries=plan.entries,
            cleaned=plan.cleaned,
            requeued=taken.total - plan.cleaned,
            blocks_split=blocks_split,
            error=error,
            trace=trace,
            trace_omitted=omitted,
        )

    def write_protect(self, pages: WordMask) -> int:
        """Clear S2AP[1] of the leaves over pages; see `DirtyCleaner`."""
        return self._stage2.write_protect(pages)

    def split_blocks(self, pages: WordMask) -> int:
        """Split the blocks over pages where gets and clears do so; see `DirtyCleaner`."""
        if self._splitting is None:
            return 0
        return self._stage2.split(pages, self._splitting)

    def finish(self) -> None:
        """End the call: a split fault hits iff a split that it covers was asked for."""
        if self._splitting is None or not self._splitting.any_failed:
            return
        for fault in self._split_faults:
            gfn = fault.spec.when.gfn
            if gfn is None or gfn - self._base_gfn in self._splitting.failed_pages:
                fault.hit(self._faults, None, None, gfn)

    def _declines(self) -> Errno | None:
        """Tell why the hook does nothing at all, in its order; nothing is taken before."""
        if not self._config.hacdbs:
            return Errno.ENXIO
        if self._unit.status is not UnitStatus.IDLE or self._faults.strikes(FaultType.UNIT_BUSY):
            return Errno.EPERM
        if not self._config.dbm:
            return Errno.EPERM
        if self._faults.strikes(FaultType.ENTRIES_ENOMEM):
            return Errno.ENOMEM
        return None

    def _lost_run(self) -> tuple[int, ArmedFault] | None:
        """Give the first run whose interrupt will be lost, and the oldest fault that does it."""
        return min(
            (
                (fault.spec.when.batch or 0, fault)
                for fault in self._faults.firing(FaultType.LOST_INTERRUPT)
            ),
            key=lambda each: each[0],
            default=None,
        )

    def _horizon(self, armed: list[ArmedFault], lost: tuple[int, ArmedFault] | None) -> int:
        """Give the rank from which on more than stage 2 must be asked; 0 where that is at once."""
        splits = self._splitting is not None and self._stage2.has_blocks
        if splits or self._trace or any(fault.spec.when.gfn is not None for fault in armed):
            return 0
        ranks = [self._armed_rank(fault) for fault in armed]
        if lost is not None:
            ranks.append((lost[0] + 1) * self._config.array_entries)
        return min(ranks, default=NEVER)

    def _clean_tiles(self, window: LogWindow, horizon: int) -> tuple[int, int]:
        """Clean tile by tile while every entry can be cleaned and has a rank below the horizon.

        Nothing is scratch of a plane's size then, and a tile stays in the cache: a clear of
        128 GiB takes a third of the time.

        Returns:
            Words of the window that are done, and their entries.
        """
        cleaned = 0
        for word in range(0, window.num_words if horizon else 0, TILE_WORDS):
            tile = Entries(window.masked(word, TILE_WORDS), cleaned)
            good = self._stage2.cleanable(tile.mask, self._ttwl, None)
            if tile.total > horizon or not np.array_equal(good, tile.mask.bits):
                return word, cleaned
            self._stage2.clean(tile.mask, self._ttwl)
            window.take(tile.mask, tile.total - cleaned)
            cleaned = tile.total
        return (window.num_words if horizon else 0), cleaned

    def _plan(
        self,
        entries: Entries,
        armed: list[ArmedFault],
        lost: tuple[int, ArmedFault] | None,
    ) -> ClearPlan:
        stops = self._armed_stops(entries, armed)
        natural = self._natural_stop(entries)
        if natural is not None:
            stops.append(natural)
        # At one entry a natural failure comes first, then by reason, then the oldest fault, which
        # is where min() finds it first.
        first = min(
            stops,
            key=lambda stop: (stop.rank, stop.fault is not None, stop.reason),
            default=None,
        )
        return plan_clear(entries.total, self._config.array_entries, first, lost)

    def _natural_stop(self, entries: Entries) -> Stop | None:
        """Find the first entry that stage 2 does not let the unit clean."""
        good = self._stage2.cleanable(entries.mask, self._ttwl, self._splitting)
        found = entries.first_of(np.bitwise_xor(entries.mask.bits, good, out=good))
        if found is None:
            return None
        rank, page = found
        level, _ = self._stage2.leaf(page)
        return Stop(rank, ErrReason.IPAF if level is None else ErrReason.IPAHACF, None)

    def _armed_stops(self, entries: Entries, armed: list[ArmedFault]) -> list[Stop]:
        """Find the entries at which armed faults would stop the unit."""
        stops = []
        for fault in armed:
            gfn = fault.spec.when.gfn
            rank: int | None
            if gfn is None:
                rank = self._armed_rank(fault)
            else:
                rank = entries.rank_of_page(gfn - self._base_gfn)
            if rank is not None and rank < entries.total:
                stops.append(Stop(rank, _REASONS[fault.spec.type], fault))
        return stops

    def _armed_rank(self, fault: ArmedFault) -> int:
        """Give the rank of a fault's batch and index."""
        when = fault.spec.when
        return (when.batch or 0) * self._config.array_entries + (when.index or 0)

    def _error(self, plan: ClearPlan, entries: Entries) -> EntryError | None:
        """Say where and why the call stopped, and count the hits of the faults that did it."""
        if not plan.gave_up:
            return None
        batch, index = plan.runs - 1, plan.last_index
        gfn = self._base_gfn + entries.pages([plan.cleaned])[0] if plan.stop else None
        for fault in (plan.stop.fault if plan.stop else None, plan.lost):
            if fault is not None:
                fault.hit(self._faults, batch, index, gfn)
        reason = plan.stop.reason.name if plan.stop and not plan.lost else "LOST_INTERRUPT"
        return EntryError(ErrorReason(reason), batch, index, gfn)

    def _traced(self, plan: ClearPlan, entries: Entries) -> tuple[tuple[RunTrace, ...], int]:
        """Tell the first runs one by one, and how many more there were."""
        shown = min(plan.runs, MAX_TRACED_RUNS)
        starts = [run * plan.capacity for run in range(shown)]
        ends = [min(start + plan.capacity, plan.entries) for start in starts]
        runs = tuple(
            RunTrace(
                size=end - start,
                cleaned=max(min(end, plan.cleaned) - start, 0),
                first_gfn=self._base_gfn + first,
                last_gfn=self._base_gfn + last,
                ttwl=self._ttwl,
            )
            for start, end, first, last in zip(
                starts,
                ends,
                entries.pages(starts),
                entries.pages([end - 1 for end in ends]),
                strict=True,
            )
        )
        return runs, plan.runs - shown


_REASONS: Final[dict[FaultType, ErrReason]] = {
    FaultType.STRUCTF: ErrReason.STRUCTF,
    FaultType.IPAF: ErrReason.IPAF,
    FaultType.IPAHACF: ErrReason.IPAHACF,
}
