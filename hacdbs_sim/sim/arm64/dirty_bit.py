"""The accelerated clear: what the patch does entry by entry, in closed form (docs/kernel.md S.1).

Theory of operation. The outcome of a call follows from the rank of the first entry that cannot be
cleaned; clear_plan.py derives it and defines the terms used here (T, n, rank, run, frontier F).

An entry is judged at its run, after every split requested up to F; but the split that decides is its
own word's, so entries can be judged before anything changes. Then the call acts on whole words:
split up to F, take up to F, put back from r on, clean below r.

It does so tile by tile, in ascending order, with the same result: until r is known every entry is
below it, and F is at most n entries behind. What is behind F is never read.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from hacdbs_sim.model import (
    AcceleratorOutcome,
    AcceleratorReport,
    EntryError,
    ErrorReason,
    FaultType,
    KernelProfile,
    RunTrace,
    UnitStatus,
)
from hacdbs_sim.model.errors import Errno
from hacdbs_sim.model.units import BLOCK_SIZES_BYTES, PAGE_LEVEL, entries_per_array
from hacdbs_sim.model.words import WordMask
from hacdbs_sim.sim.arm64.clear_plan import ClearPlan, Stop, plan_clear
from hacdbs_sim.sim.arm64.entries import Entries
from hacdbs_sim.sim.arm64.faults import ENTRY_FAULTS, ArmedFault, FaultCall
from hacdbs_sim.sim.arm64.hacdbs import Unit
from hacdbs_sim.sim.arm64.leaf_cleaning import Splitting
from hacdbs_sim.sim.arm64.stage2 import Stage2
from hacdbs_sim.sim.arm64.sysregs import ErrReason
from hacdbs_sim.sim.kvm.dirty_bitmap import LogWindow

MAX_TRACED_RUNS: Final = 4096

NEVER: Final = 1 << 63
"""A rank that no entry has."""

NO_ENTRIES: Final = Entries(WordMask(slice(0, 0), np.empty(0, np.uint64)))


@dataclass(frozen=True, slots=True)
class ClearConfig:
    """The VM's configuration, as far as the hook needs it."""

    page_size: int
    dbm: bool
    hacdbs: bool
    kernel: KernelProfile

    @property
    def array_entries(self) -> int:
        """n, the entries of an array."""
        return entries_per_array(self.page_size)

    @property
    def array_sz(self) -> int:
        """HACDBSBR_EL2.SZ for an array of one page."""
        return self.page_size.bit_length() - 13

    def ttwl(self, chunk_size_bytes: int) -> int:
        """Return the level of every entry; v1 takes it from the chunk size (docs/kernel.md C.2)."""
        if self.kernel is KernelProfile.V1:
            for level, size in BLOCK_SIZES_BYTES[self.page_size].items():
                if chunk_size_bytes == size:
                    return level
        return PAGE_LEVEL


class Cleaned(NamedTuple):
    """What a call did to the words that it reached."""

    taken: int
    """Entries in all words up to F."""
    stop: Stop | None
    """The entry that cannot be cleaned, if there is one among them."""
    tile: Entries
    """The tile of that entry; without one the last tile."""
    blocks_split: int
    """Blocks split on the way."""


class AcceleratedClear:
    """The arm64 side of one get or clear of one slot: the hook, and what the software loop needs.

    Implements `hacdbs_sim.sim.kvm.hook.DirtyCleaner`. It splits lazily under manual protect and
    initially set.
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
            gfns = [fault.place.gfn for fault in self._split_faults]
            self._splitting = Splitting(
                chunk_size_bytes,
                all_fail=None in gfns,
                failing_pages=tuple(gfn - base_gfn for gfn in gfns if gfn is not None),
            )

    def dirty_log_clear(self, window: LogWindow) -> AcceleratorReport:
        """Clean the window by this CPU's unit (kvm_arch_dirty_log_clear); see `DirtyCleaner`."""
        cpu = self._unit.cpu
        no_runs: tuple[RunTrace, ...] | None = () if self._trace else None
        errno = self._declines()
        if errno is not None:
            return AcceleratorReport(
                cpu=cpu,
                outcome=AcceleratorOutcome.DECLINED,
                errno=errno,
                trace=no_runs,
                trace_omitted=None if no_runs is None else 0,
            )
        armed = self._faults.firing(*ENTRY_FAULTS)
        lost = self._lost_run()
        if window.is_clean:
            return AcceleratorReport(
                cpu=cpu,
                outcome=AcceleratorOutcome.CLEANED,
                trace=no_runs,
                trace_omitted=None if no_runs is None else 0,
            )
        if window.is_whole and self._cannot_stop():
            done = self._clean_whole(window)
        else:
            done = self._clean(window, armed, lost)
        plan = plan_clear(done.taken, self._config.array_entries, done.stop, lost)
        if plan.runs:
            self._unit.account(plan.walk(), self._config.array_sz)
        error = self._error(plan, done.tile)
        # A short count of the last array is what the routine tests, so v1 takes a last array that
        # was full for a failure (docs/kernel.md C.5 a).
        spurious = self._config.kernel is KernelProfile.V1 and plan.ends_full
        partial = plan.gave_up or spurious
        trace, omitted = self._traced(plan, done.tile) if self._trace else (None, None)
        return AcceleratorReport(
            cpu=cpu,
            outcome=AcceleratorOutcome.PARTIAL if partial else AcceleratorOutcome.CLEANED,
            errno=Errno.EAGAIN if partial else None,
            batches=plan.runs,
            entries=plan.entries,
            cleaned=plan.cleaned,
            requeued=done.taken - plan.cleaned,
            blocks_split=done.blocks_split,
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
        """End the call: a split fault hits iff a split that it covers was requested."""
        if self._splitting is None or not self._splitting.any_failed:
            return
        for fault in self._split_faults:
            gfn = fault.place.gfn
            if gfn is None or gfn - self._base_gfn in self._splitting.failed_pages:
                fault.hit(self._faults, None, None, gfn)

    def _declines(self) -> Errno | None:
        """Return why the hook declines, in the kernel's order; nothing is taken before."""
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
        """Return the first run whose interrupt will be lost, and the oldest fault that does it."""
        losing = self._faults.firing(FaultType.LOST_INTERRUPT)
        if not losing:
            return None
        oldest = min(losing, key=lambda fault: fault.place.batch or 0)
        return oldest.place.batch or 0, oldest

    def _cannot_stop(self) -> bool:
        """Return whether it is known beforehand that the unit will clean every entry."""
        return (
            not self._faults.has_faults
            and not self._trace
            and self._ttwl == PAGE_LEVEL
            and self._stage2.every_page_has_dbm
        )

    def _clean_whole(self, window: LogWindow) -> Cleaned:
        """Clean all that is dirty, which cannot stop: then T is the log's count, and r is T.

        What is writable is in the log while the slot logs, so nothing stays writable. No word of the
        log is read: a get of 1 GiB takes 17 us instead of 37.
        """
        self._stage2.write_protect_all()
        return Cleaned(window.take_all(), None, NO_ENTRIES, 0)

    def _clean(
        self, window: LogWindow, armed: list[ArmedFault], lost: tuple[int, ArmedFault] | None
    ) -> Cleaned:
        """Split up to F, take up to F, put back from r on, clean below r: by tiles, or at once."""
        n = self._config.array_entries
        end = NEVER if lost is None else n * (lost[0] + 1)  # ranks from here on have no run
        r = NEVER
        stop: Stop | None = None
        tile = taken = NO_ENTRIES
        blocks_split = 0
        for masked in window.masked(at_once=self._trace):
            entries = Entries(masked.mask, taken.total, masked.counts, masked.total)
            if stop is None:
                tile = entries
                stop = self._first_stop(entries, armed)
            if stop is not None:
                r = stop.rank
                end = min(end, n * (r // n + 1))
            taken = entries.words_of_first(end)
            cleaned = taken.first(min(r, end))
            blocks_split += self.split_blocks(taken.mask)
            window.take(taken.mask, taken.total - taken.before)
            if cleaned.total < taken.total:
                window.put_back(taken.but_first(cleaned))
                self._stage2.clean(cleaned.mask, self._ttwl)
            elif self._ttwl == PAGE_LEVEL:
                self._stage2.clean_all_but(window.still_dirty(taken.mask))
            else:
                self._stage2.clean(cleaned.mask, self._ttwl)
            if taken.total >= end:
                break
        if tile is not NO_ENTRIES:
            window.begin_at(tile.mask.word_at(0))  # what is left is in that tile or behind it
        return Cleaned(taken.total, stop, tile, blocks_split)

    def _first_stop(self, entries: Entries, armed: list[ArmedFault]) -> Stop | None:
        """Find the first of some entries that cannot be cleaned.

        At one entry a natural failure comes first, then by reason, then the oldest fault, which is
        where min() finds it first.
        """
        natural = self._natural_stop(entries)
        if not armed:
            return natural
        stops = self._armed_stops(entries, armed)
        if natural is not None:
            stops.append(natural)
        return min(
            stops,
            key=lambda stop: (stop.rank, stop.fault is not None, stop.reason),
            default=None,
        )

    def _natural_stop(self, entries: Entries) -> Stop | None:
        """Find the first entry that stage 2 does not let the unit clean."""
        bad = self._stage2.uncleanable(entries.mask, self._ttwl, self._splitting)
        found = None if bad is None else entries.first_of(bad)
        if found is None:
            return None
        rank, page = found
        level, _ = self._stage2.leaf(page)
        return Stop(rank, ErrReason.IPAF if level is None else ErrReason.IPAHACF, None)

    def _armed_stops(self, entries: Entries, armed: list[ArmedFault]) -> list[Stop]:
        """Find the entries at which armed faults would stop the unit."""
        stops = []
        for fault in armed:
            gfn = fault.place.gfn
            rank: int | None
            if gfn is None:
                rank = self._armed_rank(fault)
            else:
                rank = entries.rank_of_page(gfn - self._base_gfn)
            if rank is not None and rank < entries.total:
                stops.append(Stop(rank, _REASONS[fault.spec.type], fault))
        return stops

    def _armed_rank(self, fault: ArmedFault) -> int:
        """Return the rank of a fault's batch and index."""
        when = fault.place
        return (when.batch or 0) * self._config.array_entries + (when.index or 0)

    def _error(self, plan: ClearPlan, entries: Entries) -> EntryError | None:
        """Return where and why the call stopped; count the hits of the faults that stopped it."""
        if not plan.gave_up:
            return None
        batch, index = plan.runs - 1, plan.last_index
        gfn = self._base_gfn + entries.pages([plan.cleaned])[0] if plan.stop else None
        for fault in (plan.stop.fault if plan.stop else None, plan.lost):
            if fault is not None:
                fault.hit(self._faults, batch, index, gfn)
        reason = plan.stop.reason.name if plan.stop and not plan.lost else "LOST_INTERRUPT"
        return EntryError(reason=ErrorReason(reason), batch=batch, index=index, gfn=gfn)

    def _traced(self, plan: ClearPlan, entries: Entries) -> tuple[tuple[RunTrace, ...], int]:
        """Return the first runs one by one, and how many more there were."""
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
