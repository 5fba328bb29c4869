"""How fast a guest dirties memory, as QEMU's calc-dirty-rate measures it, in virtual time.

By `page_sampling` a share of the pages is looked at before and after: a page whose version has changed
was written. The log is not touched. By `dirty_bitmap` the log is taken at the beginning, and what gets name
from then on is counted. The pages that a measurement takes from a log are handed to the migration that
has to send them.

A measurement only begins and ends; the caller lets the guest run in between.
"""

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim import model
from hacdbs_sim.model import CalcDirtyRate, DirtyRateInfo, DirtyRateMode, DirtyRateStatus
from hacdbs_sim.model.dirty_rate import DEFAULT_SAMPLE_PAGES, MIN_SAMPLED_BYTES
from hacdbs_sim.model.draws import below, derived_seed, draws
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.migrations import NS_PER_SECOND
from hacdbs_sim.vmm.errors import (
    DirtyRateMeasuringError,
    InvalidDirtyRateError,
    refused_of,
)
from hacdbs_sim.vmm.running import run_guest
from hacdbs_sim.vmm.tracking import DirtyTracking, calls_that_took
from hacdbs_sim.vmm.versions import Versions, last_version_of, versions_of

_MIB: Final = 20
_GIB: Final = 30
_WINDOW_PAGES: Final = 1 << 20
"""Pages whose versions are copied at a time."""


class _Method(Protocol):
    """A way to measure."""

    def begin(self) -> None:
        """Begin, or raise a `KvmError` and leave everything as it was."""
        ...

    def end(self) -> tuple[model.SlotDirtyRate, ...]:
        """Return what has been found in the slots."""
        ...

    def release(self) -> None:
        """Leave the machine as it was."""
        ...

    def rate(self, slots: tuple[model.SlotDirtyRate, ...], elapsed_ns: int) -> int | None:
        """Return MiB a second."""
        ...


class DirtyRate:
    """The measurements of one machine's dirty rate, one at a time.

    Args:
        tracking: What it shares with the machine's migrations.

    Attributes:
        info: The last measurement, as query-dirty-rate shows it.
    """

    def __init__(self, tracking: DirtyTracking) -> None:
        self.info = DirtyRateInfo(status=DirtyRateStatus.UNSTARTED)
        self._tracking = tracking
        self._method: _Method | None = None
        self._started = 0

    @property
    def is_measuring(self) -> bool:
        """Whether a measurement has begun and not ended."""
        return self._method is not None

    def start(self, backend: model.Backend, request: CalcDirtyRate) -> None:
        """Begin to measure.

        Raises:
            DirtyRateMeasuringError: A measurement has not ended.
            InvalidDirtyRateError: The mode is not enabled, or does not take what is given.
            KvmError: What the machine refuses.
        """
        if self.is_measuring:
            raise DirtyRateMeasuringError("the dirty rate is already being measured")
        _check(request)
        per_gib = 0
        method: _Method
        if request.mode is DirtyRateMode.PAGE_SAMPLING:
            per_gib = request.sample_pages_per_gib or DEFAULT_SAMPLE_PAGES
            seed = derived_seed(backend.query(model.GetConfig()).seed, self._started + 1)
            method = _PageSampling(backend, per_gib, seed)
        else:
            method = _DirtyBitmap(backend, self._tracking)
        method.begin()
        self._method = method
        self._started += 1
        now_ns = backend.query(model.GetClock()).now_ns
        self._tracking.until_ns = now_ns + request.duration_ns
        self.info = DirtyRateInfo(
            status=DirtyRateStatus.MEASURING,
            mode=request.mode,
            duration_ns=request.duration_ns,
            sample_pages_per_gib=per_gib,
            started_ns=now_ns,
        )

    def run(self, backend: model.Backend, *, is_paused: bool = False) -> None:
        """Let some of the time pass that is left; for callers who know that nobody else does.

        Args:
            backend: The machine.
            is_paused: Whether the guest is paused meanwhile.
        """
        try:
            left_ns = self._left_ns(backend)
            if left_ns > 0 and is_paused:
                backend.perform(model.AdvanceClock(duration_ns=left_ns))
            elif left_ns > 0:
                run_guest(backend, left_ns)
        except KvmError as refusal:
            self._end(backend, refusal)
            return
        self.end_if_due(backend)

    def end_if_due(self, backend: model.Backend) -> None:
        """End the measurement once its time is over."""
        if self.is_measuring and self._left_ns(backend) <= 0:
            self._end(backend)

    def _left_ns(self, backend: model.Backend) -> int:
        until_ns = self._tracking.until_ns
        return 0 if until_ns is None else until_ns - backend.query(model.GetClock()).now_ns

    def _end(self, backend: model.Backend, refusal: KvmError | None = None) -> None:
        method, before = self._method, self.info
        if method is None:
            return
        slots: tuple[model.SlotDirtyRate, ...] = ()
        elapsed_ns = backend.query(model.GetClock()).now_ns - model.known(before.started_ns)
        rate = None
        try:
            if refusal is None:
                slots = method.end()
                rate = method.rate(slots, elapsed_ns)
        except KvmError as refused:
            refusal = refused
        finally:
            method.release()
            self._method = self._tracking.until_ns = None
        self.info = DirtyRateInfo(
            status=DirtyRateStatus.MEASURED,
            mode=before.mode,
            duration_ns=before.duration_ns,
            sample_pages_per_gib=before.sample_pages_per_gib,
            started_ns=before.started_ns,
            elapsed_ns=elapsed_ns,
            dirty_rate=rate,
            sample_pages=sum(slot.sample_pages for slot in slots),
            dirty_pages=sum(slot.dirty_pages for slot in slots),
            slots=slots,
            problem=None if refusal is None else refused_of(refusal),
        )


def _check(request: CalcDirtyRate) -> None:
    """Refuse what QEMU refuses beyond the bounds of the fields."""
    sampling = DirtyRateMode.PAGE_SAMPLING
    if request.sample_pages_per_gib is not None and request.mode is not sampling:
        raise InvalidDirtyRateError(
            f"sample_pages_per_gib is used in the mode {sampling.value} only,"
            f" not in {request.mode.value}",
            field="sample_pages_per_gib",
            bound=sampling.value,
            value=request.sample_pages_per_gib,
        )
    if request.mode is DirtyRateMode.DIRTY_RING:
        raise InvalidDirtyRateError(
            "mode can be dirty_ring only where the VM has dirty rings, and this one has a bitmap",
            field="mode",
            bound=f"{sampling.value}, {DirtyRateMode.DIRTY_BITMAP.value}",
            value=request.mode.value,
        )


class _PageSampling:
    """Looks at some pages before and after."""

    def __init__(self, backend: model.Backend, per_gib: int, seed: int) -> None:
        self._backend = backend
        self._per_gib = per_gib
        self._seed = seed
        self._page_size = backend.query(model.GetConfig()).page_size
        self._lives = backend.query(model.ListMemslotLives())
        self._last_version = 0

    def begin(self) -> None:
        self._backend.perform(model.NeedVersions(needed=True))
        self._last_version = last_version_of(self._backend)

    def end(self) -> tuple[model.SlotDirtyRate, ...]:
        last_version_of(self._backend)  # refuses where some writes were not counted
        now = {life.slot: life for life in self._backend.query(model.ListMemslotLives())}
        return tuple(self._look(life, now.get(life.slot)) for life in self._lives)

    def _look(self, life: model.MemslotLife, now: model.MemslotLife | None) -> model.SlotDirtyRate:
        size = life.npages * self._page_size
        lasts = now is not None and now.created == life.created
        if size < MIN_SAMPLED_BYTES or not lasts:
            return model.SlotDirtyRate(slot=life.slot, npages=life.npages, skipped=True)
        count = size * self._per_gib >> _GIB
        pages = self._draw(life, count)
        dirty = sum(
            int(np.count_nonzero(versions > self._last_version))
            for versions in self._versions(life, pages)
        )
        return model.SlotDirtyRate(
            slot=life.slot, npages=life.npages, sample_pages=count, dirty_pages=dirty
        )

    def _draw(self, life: model.MemslotLife, count: int) -> NDArray[np.int64]:
        """Draw pages, ascending and with repeats; never the last one, as QEMU has it."""
        drawn = draws(derived_seed(self._seed, life.slot), 0, count)
        return np.sort(below(drawn, life.npages - 1).astype(np.int64))

    def _versions(self, life: model.MemslotLife, pages: NDArray[np.int64]) -> Iterator[Versions]:
        """Read the versions of pages, window by window."""
        for first in range(0, life.npages, _WINDOW_PAGES):
            start, end = np.searchsorted(pages, (first, first + _WINDOW_PAGES))
            window = min(_WINDOW_PAGES, life.npages - first)
            versions = versions_of(self._backend, life.slot, first, window)
            yield versions[pages[start:end] - first]

    def release(self) -> None:
        self._backend.perform(model.NeedVersions(needed=False))

    def rate(self, slots: tuple[model.SlotDirtyRate, ...], elapsed_ns: int) -> int | None:
        samples = sum(slot.sample_pages for slot in slots)
        if not samples:
            return None
        dirty = sum(slot.dirty_pages for slot in slots)
        mib = sum(slot.npages * self._page_size >> _MIB for slot in slots if not slot.skipped)
        return dirty * mib * NS_PER_SECOND // (samples * elapsed_ns)


class _DirtyBitmap:
    """Counts what gets name between the beginning and the end, those of a migration included."""

    def __init__(self, backend: model.Backend, tracking: DirtyTracking) -> None:
        self._backend = backend
        self._tracking = tracking
        self._page_size = backend.query(model.GetConfig()).page_size
        self._lives: list[model.MemslotLife] = []
        self._held: list[model.MemslotLife] = []
        self._named_before: dict[int, int] = {}

    def begin(self) -> None:
        """Have all slots log; take what their logs name, which was written before."""
        try:
            for life in self._backend.query(model.ListMemslotLives()):
                now = self._tracking.hold_log(self._backend, life)
                self._lives.append(now)
                if self._tracking.holds_log(now):
                    self._held.append(now)
            for life in self._lives:
                self._take(life, clears=True)
        except KvmError:
            self.release()
            raise
        self._named_before = dict(self._tracking.named_pages)

    def _take(self, life: model.MemslotLife, *, clears: bool) -> None:
        """Get a slot's log; with `clears`, also take it where a get only copies."""
        copies = self._backend.query(model.GetConfig()).protects_manually  # it may change any time
        before = calls_that_took(self._backend)
        outcome = self._backend.perform(model.GetDirtyLog(slot=life.slot))
        self._tracking.count(outcome)
        if copies and clears and outcome.words.any():
            self._backend.perform(
                model.ClearDirtyLog(
                    slot=life.slot, pages=model.Bitmap(outcome.words), num_pages=life.npages
                )
            )
        if clears or not copies:
            self._tracking.hand_over(self._backend, life, outcome.words, before)

    def end(self) -> tuple[model.SlotDirtyRate, ...]:
        now = {life.slot: life for life in self._backend.query(model.ListMemslotLives())}
        return tuple(self._finish(life, now.get(life.slot)) for life in self._lives)

    def _finish(
        self, life: model.MemslotLife, now: model.MemslotLife | None
    ) -> model.SlotDirtyRate:
        if now is None or now.log != life.log:
            return model.SlotDirtyRate(slot=life.slot, npages=life.npages, skipped=True)
        self._take(life, clears=False)
        named = self._tracking.named_pages[life.slot] - self._named_before[life.slot]
        return model.SlotDirtyRate(slot=life.slot, npages=life.npages, dirty_pages=named)

    def release(self) -> None:
        for life in self._held:
            self._tracking.release_log(self._backend, life)

    def rate(self, slots: tuple[model.SlotDirtyRate, ...], elapsed_ns: int) -> int:
        dirty = sum(slot.dirty_pages for slot in slots)
        return (dirty * self._page_size * NS_PER_SECOND >> _MIB) // elapsed_ns
