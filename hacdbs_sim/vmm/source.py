"""The source of a migration: the VMM's calls on its machine, and their cost in virtual time.

A get or a clear happens at one moment of the clock; what it costs is owed, and paid with the next
copy, while the guest runs on. Whatever the guest writes meanwhile is in the log again.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hacdbs_sim import model
from hacdbs_sim.model.errors import KvmError, TooManyWritesError
from hacdbs_sim.model.kinds import MAX_NS
from hacdbs_sim.model.migrations import NS_PER_SECOND
from hacdbs_sim.model.words import WORD_BITS, Words, fill_first, popcount, words_for
from hacdbs_sim.vmm.errors import SlotChangedError
from hacdbs_sim.vmm.spec import check_spec
from hacdbs_sim.vmm.versions import (
    MAX_ALL_LOST_RANGES,
    MAX_LISTED_SLOTS,
    MAX_LOST_RANGES,
    Arrived,
    Versions,
)

WRITES_PER_STEP: Final = 1 << 21
"""The guest runs for about so many writes at a time: some tens of milliseconds of real time."""


class SourceSlot:
    """A slot that is migrated.

    Attributes:
        view: The slot as it was before.
        pending: uint64 words, the pages known to have to be sent.
        arrived: What the destination has of it; None without `verify`.
    """

    def __init__(self, view: model.MemslotInfo) -> None:
        self.view = view
        self.pending = np.zeros(words_for(view.npages), np.uint64)
        self.arrived: Arrived | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Pages to send, out of a window of a slot.

    Attributes:
        first_page: Where the window begins.
        num_pages: Its length.
        words: A view of the slot's pending pages: those of the window.
        pages: How many of them are to be sent.
    """

    slot: SourceSlot
    first_page: int
    num_pages: int
    words: Words
    pages: int


class Source:
    """A machine as the VMM that migrates it sees it.

    Attributes:
        slots: What is migrated, by number.
        row: Where what happens is accounted.
        throttle_percent: How much of their time the vCPUs do not run.
        is_paused: Whether the guest is paused.
        sent_pages: Pages sent so far.

    Raises:
        InvalidMigrationError: the machine cannot run the spec.
    """

    def __init__(self, backend: model.Backend, spec: model.MigrationSpec) -> None:
        self.slots = tuple(SourceSlot(view) for view in check_spec(spec, backend))
        self.row = model.Iteration()
        self.throttle_percent = 0
        self.is_paused = False
        self.sent_pages = 0
        self._backend = backend
        config = backend.query(model.GetConfig())
        self.page_size = config.page_size
        self._costs = config.costs
        self._spec = spec
        self._tracked_before = backend.query(model.GetLastVersion()) is not None
        self._owed_ns = 0
        self._unsent_fraction = 0  # of a nanosecond of the link, in units of one by its bandwidth

    @property
    def now_ns(self) -> int:
        """The machine's clock."""
        return self._backend.query(model.GetClock()).now_ns

    @property
    def is_manual(self) -> bool:
        """Whether a get is a copy, and clears clean."""
        return self._backend.query(model.GetConfig()).protects_manually

    @property
    def total_pages(self) -> int:
        """The pages of all slots that are migrated."""
        return sum(slot.view.npages for slot in self.slots)

    @property
    def pending_pages(self) -> int:
        """The pages known to have to be sent."""
        return sum(popcount(slot.pending) for slot in self.slots)

    def perform(self, action: model.Action[Any]) -> None:
        """Perform an action of the schedule."""
        self._backend.perform(action)

    # Before and after

    def begin(self) -> None:
        """Track versions for `verify`, set all pages pending, and enable logging of all slots."""
        if self._spec.verify:
            self._backend.perform(model.TrackVersions(enabled=True))
            has = None if self._spec.full_first_pass else self._last_version()
            for slot in self.slots:
                slot.arrived = Arrived(slot.view.slot, slot.view.npages, has)
        for slot in self.slots:
            if self._spec.full_first_pass:
                fill_first(slot.pending, slot.view.npages)
            if not slot.view.is_logging:
                self._begin_to_log(slot.view)

    def _begin_to_log(self, view: model.MemslotInfo) -> None:
        split_before = self._eager_splits()
        self._backend.perform(_region(view, view.flags | model.MemslotFlags.LOG_DIRTY_PAGES))
        self._owed_ns += self._costs.enable_logging_ns(
            view.npages,
            initially_set=self._backend.query(model.GetConfig()).initially_set,
            blocks_split=self._eager_splits() - split_before,
        )

    def _eager_splits(self) -> int:
        return self._backend.query(model.GetCounters())["eager_blocks_split"]

    def end(self) -> None:
        """Restore the slots' flags, where the slots are still there."""
        for slot in self.slots:
            if not slot.view.is_logging:
                with suppress(KvmError):
                    now = self._backend.query(model.GetMemslot(slot=slot.view.slot))
                    self._backend.perform(
                        _region(now, now.flags & ~model.MemslotFlags.LOG_DIRTY_PAGES)
                    )
        if self._spec.verify and not self._tracked_before:
            self._backend.perform(model.TrackVersions(enabled=False))

    # A pass

    def sync(self) -> None:
        """Take the log of each slot (KVM_GET_DIRTY_LOG)."""
        for slot in self.slots:
            outcome = self._backend.perform(model.GetDirtyLog(slot=slot.view.slot))
            assert outcome.bitmap is not None, "a get has a bitmap"
            bitmap = outcome.bitmap.words
            if outcome.num_pages != slot.view.npages:
                raise SlotChangedError(
                    f"slot {slot.view.slot} had {slot.view.npages} pages when its migration began,"
                    f" and has {outcome.num_pages} now"
                )
            self.row.dirty_pages += popcount(bitmap & ~slot.pending)
            slot.pending |= bitmap
            cost_ns = self._account(outcome)
            self.row.get_ns += cost_ns

    def chunks(self) -> Iterator[Chunk]:
        """Yield the pages to send, window by window, in order of slot and page."""
        step = self._spec.clear_chunk_pages // WORD_BITS
        for slot in self.slots:
            starts = np.arange(0, len(slot.pending), step)
            counts = np.add.reduceat(np.bitwise_count(slot.pending), starts, dtype=np.int64)
            for index in np.flatnonzero(counts).tolist():
                first_page = index * self._spec.clear_chunk_pages
                num_pages = min(self._spec.clear_chunk_pages, slot.view.npages - first_page)
                words = slot.pending[index * step : (index + 1) * step]
                yield Chunk(slot, first_page, num_pages, words, int(counts[index]))

    def clear(self, chunk: Chunk) -> None:
        """Clear the pages of a chunk (KVM_CLEAR_DIRTY_LOG)."""
        outcome = self._backend.perform(
            model.ClearDirtyLog(
                slot=chunk.slot.view.slot,
                pages=model.Bitmap(chunk.words.copy()),
                first_page=chunk.first_page,
                num_pages=chunk.num_pages,
            )
        )
        self.row.clear_ns += self._account(outcome)
        self.row.clears += 1

    def read(self, chunk: Chunk) -> None:
        """Read the pages of a chunk: they arrive with their versions of now."""
        if chunk.slot.arrived is not None:
            chunk.slot.arrived.receive(chunk.first_page, chunk.words, self._last_version())

    def send(self, chunk: Chunk) -> Iterator[None]:
        """Send a chunk; the time that it takes and the time owed pass."""
        sent_bytes = chunk.pages * self.page_size
        link_ns, self._unsent_fraction = divmod(
            sent_bytes * NS_PER_SECOND + self._unsent_fraction,
            self._spec.bandwidth_bytes_per_second,
        )
        yield from self.pass_time(link_ns)
        self.sent_pages += chunk.pages
        self.row.sent_pages += chunk.pages
        self.row.sent_bytes += sent_bytes

    def sent(self, chunk: Chunk) -> None:
        """Drop a chunk from the pending pages."""
        chunk.words[:] = 0

    def remaining_pages(self) -> int:
        """Count the pages that are pending or in the logs."""
        return sum(popcount(self._known(slot)) for slot in self.slots)

    # Time

    def pass_time(self, duration_ns: int = 0) -> Iterator[None]:
        """Let the guest run for a while and for the time owed; paused, only the clock advances."""
        left_ns = duration_ns + self._owed_ns
        self._owed_ns = 0
        while left_ns:
            if self.is_paused:
                self._backend.perform(model.AdvanceClock(duration_ns=left_ns))
                return
            left_ns -= self._run_guest(min(left_ns, self._step_ns()))
            yield

    def _run_guest(self, duration_ns: int) -> int:
        """Let the guest run, for less than requested where it would write too much at once."""
        while True:
            try:
                run = self._backend.perform(
                    model.RunGuest(duration_ns=duration_ns, throttle_percent=self.throttle_percent)
                )
            except TooManyWritesError:
                if duration_ns == 1:
                    raise
                duration_ns //= 2
                continue
            row = self.row
            row.guest_ns += run.guest_ns
            row.guest_stall_ns += run.stalled_ns
            row.throttled_ns += run.throttled_ns
            row.guest_writes += run.writes
            row.permission_faults += run.permission_faults
            row.translation_faults += run.translation_faults
            return duration_ns

    def _step_ns(self) -> int:
        rate = sum(
            each.writes_per_second
            for each in self._backend.query(model.ListWorkloads())
            if isinstance(each, model.TimedFields)
        )
        return MAX_NS if not rate else WRITES_PER_STEP * NS_PER_SECOND // rate + 1

    def _account(self, outcome: model.DirtyLog) -> int:
        """Account for a get or a clear; return what it cost, in nanoseconds."""
        row, hook = self.row, outcome.accelerator
        software = model.known(outcome.software)
        row.software_cleaned += software.pages
        row.blocks_split += software.blocks_split
        if hook is not None:
            row.hardware_cleaned += hook.cleaned
            row.requeued += hook.requeued
            row.blocks_split += hook.blocks_split
            row.declined += hook.outcome is model.AcceleratorOutcome.DECLINED
            row.partial += hook.outcome is model.AcceleratorOutcome.PARTIAL
        cost_ns = self._costs.dirty_log_ns(outcome)
        self._owed_ns += cost_ns
        return cost_ns

    # The proof

    def verify(self, *, is_complete: bool) -> model.Verification:
        """Compare the destination with the source.

        Args:
            is_complete: Nothing more will be sent; else what is known to be left is not lost.
        """
        if not self._spec.verify:
            return model.Verification(enabled=False, verified=False, lost_pages=0, slots=())
        lost: list[model.LostPages] = []
        ranges_left = MAX_ALL_LOST_RANGES
        for slot in self.slots:
            found = self._lost(slot, min(ranges_left, MAX_LOST_RANGES), is_complete=is_complete)
            if found is not None:
                lost.append(found)
                ranges_left -= len(found.lost_ranges)
        listed = lost
        if len(listed) > MAX_LISTED_SLOTS:
            listed = [each for each in lost if each.lost_pages][:MAX_LISTED_SLOTS]
        return model.Verification(
            enabled=True,
            verified=len(lost) == len(self.slots),
            lost_pages=sum(each.lost_pages for each in lost),
            slots=tuple(listed),
        )

    def _lost(
        self, slot: SourceSlot, max_ranges: int, *, is_complete: bool
    ) -> model.LostPages | None:
        """Return what is lost of a slot; None for one that has changed or gone."""
        if slot.arrived is None:
            return None
        try:
            versions = self._versions(slot)
        except KvmError:
            return None
        known = np.zeros_like(slot.pending) if is_complete else self._known(slot)
        return slot.arrived.lost(versions, known, max_ranges)

    def _known(self, slot: SourceSlot) -> Words:
        try:
            log = self._backend.query(model.PeekDirtyLog(slot=slot.view.slot)).bitmap
        except KvmError:
            return slot.pending
        if log is None or len(log) != len(slot.pending):
            return slot.pending
        return log.words | slot.pending

    def _versions(self, slot: SourceSlot) -> Versions:
        versions = self._backend.query(model.GetPageVersions(slot=slot.view.slot))
        if versions is None or len(versions) != slot.view.npages:
            raise SlotChangedError(
                f"slot {slot.view.slot} has not the versions of {slot.view.npages} pages any more"
            )
        return versions

    def _last_version(self) -> int:
        last = self._backend.query(model.GetLastVersion())
        if last is None:
            raise SlotChangedError("the versions of pages are not followed any more")
        return last


def _region(view: model.MemslotInfo, flags: model.MemslotFlags) -> model.SetMemslot:
    """Return the ioctl that sets a slot's flags and nothing else."""
    return model.SetMemslot(
        slot=view.slot,
        guest_phys_addr=view.guest_phys_addr,
        memory_size=view.memory_size,
        userspace_addr=view.userspace_addr,
        flags=int(flags),
        backing=view.backing,
    )
