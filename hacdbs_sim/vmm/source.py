"""The source of a migration: the VMM's calls on its machine, and their cost in virtual time.

A get or a clear happens at one moment of the clock; what it costs is owed, and passes with the pages
that are sent next, while the guest runs on. What the guest writes meanwhile is in the log again.

The VMM's bitmap is what has to be sent. A sync ORs the log into it (KVM_GET_DIRTY_LOG); with manual
protect the first page sent of a chunk clears the chunk's reported bits (KVM_CLEAR_DIRTY_LOG), as
QEMU's clear_bmap has it.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from hacdbs_sim import model
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.words import (
    WORD_BITS,
    Words,
    every_page,
    first_bits,
    popcount,
    word_of_rank,
    words_for,
)
from hacdbs_sim.vmm.copy import Judgement, SlotCopy
from hacdbs_sim.vmm.errors import LayoutChangedError
from hacdbs_sim.vmm.history import Left
from hacdbs_sim.vmm.running import run_guest
from hacdbs_sim.vmm.spec import check_spec
from hacdbs_sim.vmm.tracking import DirtyTracking, calls_that_took
from hacdbs_sim.vmm.versions import Versions, last_version_of, versions_of

_Change: TypeAlias = Literal["appeared", "went", "replaced", "moved", "logging_ended"]

_SCAN_WORDS: Final = 1 << 12
"""Words looked at in one go for pages to send."""


class SourceSlot:
    """A slot that is migrated.

    Attributes:
        view: The slot as it was when its migration began.
        life: Which slot that is.
        holds_log: Whether it logs for this migration, and was not logging before.
        pending: uint64 words, the pages known to have to be sent.
        reported: uint64 words, the pages that gets named and no clear has cleaned.
        copy: What the destination has of it; None without `verify`.
        free: uint64 words, what the guest had given up at the stop; None: nothing, or it still runs.
    """

    def __init__(self, view: model.MemslotInfo, life: model.MemslotLife) -> None:
        self.view = view
        self.life = life
        self.holds_log = False
        self.pending = np.zeros(words_for(view.npages), np.uint64)
        self.reported = np.zeros_like(self.pending)
        self.copy: SlotCopy | None = None
        self.free: Words | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Pages that are sent.

    Attributes:
        slot: Of this slot.
        first_word: Where their words begin.
        words: uint64 words, the pages; bit 0 is page 64 * first_word.
        pages: How many.
        zero_pages: How many of them are sent as zero.
    """

    slot: SourceSlot
    first_word: int
    words: Words
    pages: int
    zero_pages: int


class Source:
    """A machine as the VMM that migrates it sees it.

    Attributes:
        slots: What is migrated, by number.
        row: Where what happens is accounted.
        throttle_percent: How much of their time the vCPUs do not run.
        is_paused: Whether the guest is paused.
        pending_pages: Pages known to have to be sent.
        owed_ns: What gets and clears cost that has not passed yet.
        due_ns: When a step with the guest paused has to end: something is scheduled; None: nothing is.
        changed_slots: Migrated slots that changed on the way.

    Raises:
        InvalidMigrationError: the machine cannot run the spec.
    """

    def __init__(
        self, backend: model.Backend, spec: model.MigrationSpec, tracking: DirtyTracking
    ) -> None:
        self._generation = backend.query(model.GetGenerations()).memslots
        self.slots, self._borrowed = _slots_of(backend, spec, tracking)
        self.row = model.Iteration()
        self.throttle_percent = 0
        self.is_paused = False
        self.pending_pages = 0
        self.owed_ns = 0
        self.due_ns: int | None = None
        self.changed_slots: list[model.ChangedSlot] = []
        self._backend = backend
        config = backend.query(model.GetConfig())
        self.page_size = config.page_size
        self._costs = config.costs
        self._spec = spec
        self._tracking = tracking
        self._history = tracking.history
        self._unproved: set[int] = set()
        self._unknown_bases: set[int] = set()
        self._dropped: list[SourceSlot] = []
        self._taken_at_creation = self._taken()
        self._chunk_words = spec.clear_chunk_pages // WORD_BITS
        self._cursor = (0, 0)
        self._frozen: int | None = None
        self._tracks = spec.verify or spec.postcopy is not None
        self._is_tracking = False
        self._touched: dict[tuple[int, int], SourceSlot] = {}

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
    def pages_vary(self) -> bool:
        """Whether some pages may take less than others on the link, or nothing."""
        return self._spec.zero_pages or self._backend.query(model.HasFreePages())

    @property
    def windows_differ(self) -> bool:
        """Whether one window of a pass is unlike another in what it sends or clears."""
        return self.pages_vary or self._spec.clear_order is model.ClearOrder.AFTER_COPY

    def perform(self, action: model.Action[Any]) -> None:
        """Perform an action of the schedule."""
        self._backend.perform(action)

    # Before and after

    def fix_base(self) -> None:
        """Track versions, and set what the destination has and what has to be sent.

        The proof accounts for every reader of the log from here on.
        """
        if self._tracks:
            self._backend.perform(model.NeedVersions(needed=True))
            self._is_tracking = True
        for slot in self.slots:
            if self._spec.full_first_pass:
                self._begin_whole(slot)
            else:
                self._begin_from_base(slot)
        self._history.begin(self._generation)

    def begin(self) -> None:
        """Enable logging of all slots.

        Raises:
            LayoutChangedError: A migrated slot is not what it was.
        """
        lives = {life.slot: life for life in self._backend.query(model.ListMemslotLives())}
        for slot in self.slots:
            now = lives.get(slot.view.slot)
            is_same = now is not None and now.created == slot.life.created
            if now is not None and is_same and now.base_gfn == slot.life.base_gfn:
                own = slot.life.log is None or slot.view.slot in self._borrowed
                slot.life = now if own else slot.life  # another reader began or ended its log
        self.check_layout()
        for slot in self.slots:
            if not slot.holds_log:  # one that has appeared does already
                self._begin_to_log(slot)
        self._see_layout()

    def _begin_whole(self, slot: SourceSlot) -> None:
        """Begin with a slot of which the destination has nothing."""
        if self._spec.verify:
            slot.copy = SlotCopy(slot.life)
        self._add_pending(slot, every_page(slot.view.npages))

    def _begin_from_base(self, slot: SourceSlot) -> None:
        """Begin with a slot of which the destination has what neither log nor history names."""
        left = self._history.left(slot.life)
        if left is None and self._history.is_new(slot.life):
            self._begin_whole(slot)
            return
        if self._spec.verify:
            logged = left is None or left.log == slot.life.log
            slot.copy = SlotCopy(slot.life, self._last_version() if logged else None)
            slot.copy.forget(0, self._log(slot))
        if self._taken() != self._taken_at_creation:
            self._unknown_bases.add(slot.view.slot)
        if left is None:
            return
        self._add_pending(slot, left.pending)
        if left.lacking is None or left.taken != self._taken():
            self._unknown_bases.add(slot.view.slot)
        elif slot.copy is not None:
            slot.copy.forget(0, left.lacking)

    def _taken(self) -> int:
        """Count the calls that took something from a log, whosever they were."""
        return calls_that_took(self._backend)

    def _begin_to_log(self, slot: SourceSlot) -> None:
        split_before, logged = self._eager_splits(), slot.life.log is not None
        slot.life = self._tracking.hold_log(self._backend, slot.life)
        slot.holds_log = self._tracking.holds_log(slot.life)
        if logged:
            return
        self.owed_ns += self._costs.enable_logging_ns(
            slot.view.npages,
            initially_set=self._backend.query(model.GetConfig()).initially_set,
            blocks_split=self._eager_splits() - split_before,
        )

    def _eager_splits(self) -> int:
        return self._backend.query(model.GetCounters())["eager_blocks_split"]

    def end(self, *, is_complete: bool, is_received: bool) -> None:
        """Restore the slots' flags, where the slots are still there; remember what was not delivered.

        That may be something of a complete migration too: the pages that it lost. After post-copy the
        guest has gone on without those.

        Args:
            is_complete: Everything that was known of was delivered.
            is_received: The destination still has what it received.
        """
        for slot in self.slots:
            if is_complete and self._frozen is not None:
                self._history.forget(slot.life)
            else:
                self._history.leave(slot.life, self._left(slot, is_received=is_received))
            if slot.holds_log:
                self._tracking.release_log(self._backend, slot.life)
        for slot in self._dropped:
            self._history.leave(slot.life, self._left(slot, is_received=False))
        if self._is_tracking:
            self._backend.perform(model.NeedVersions(needed=False))
            self._is_tracking = False

    def end_before_begin(self) -> None:
        """Leave all to the next attempt, where `fix_base` was never called; an incremental one took nothing."""
        if not self._spec.full_first_pass:
            return
        self._history.begin(self._generation)
        for slot in self.slots:
            every = every_page(slot.view.npages)
            self._history.leave(slot.life, Left(slot.life.log, self._taken(), every, every))

    def left(self, life: model.MemslotLife) -> Left | None:
        """Return what this attempt would leave of a slot now; None: it does not migrate the slot."""
        for slot in (*self.slots, *self._dropped):
            if (slot.life.slot, slot.life.created) == (life.slot, life.created):
                return self._left(slot, is_received=slot in self.slots)
        return None

    def _left(self, slot: SourceSlot, *, is_received: bool) -> Left:
        """Return what this attempt leaves to the next one: what it did not deliver."""
        pending = slot.pending if is_received else every_page(slot.view.npages)
        lacking = None
        if slot.copy is not None and slot.view.slot not in self._unknown_bases:
            with suppress(KvmError):
                lacking = _thin(pending | slot.copy.stale(self.versions(slot)))
        return Left(slot.life.log, self._taken(), _thin(pending), lacking)

    # The layout

    def note_layout(
        self,
    ) -> tuple[list[tuple[SourceSlot, model.MemslotLife | None, _Change]], list[model.MemslotLife]]:
        """Note the migrated slots that are not what they were, and the slots that are new.

        Returns:
            The former with what they are now and how they changed, and the lives of the latter.
        """
        if self._backend.query(model.GetGenerations()).memslots == self._generation:
            return [], []
        lives = {life.slot: life for life in self._backend.query(model.ListMemslotLives())}
        changes = [
            (slot, lives.get(slot.view.slot), change)
            for slot in self.slots
            if (change := _change_of(slot.life, lives.get(slot.view.slot))) is not None
        ]
        own = {slot.view.slot for slot in self.slots}
        new = [life for life in lives.values() if life.slot not in own and self._selects(life)]
        for slot, _, change in changes:
            self._note(slot.view.slot, change)
        for life in new:
            self._note(life.slot, "appeared")
        return changes, new

    def check_layout(self) -> None:
        """Notice migrated slots that appeared, went, moved, were made again or stopped logging.

        Raises:
            LayoutChangedError: One did, and `on_layout_change` is `fail`.
        """
        changes, new = self.note_layout()
        if self._spec.on_layout_change is model.LayoutChange.FAIL and (changes or new):
            what = [(slot.view.slot, change) for slot, _, change in changes]
            number, change = [*what, *((life.slot, "appeared") for life in new)][0]
            raise LayoutChangedError(
                f"slot {number} {_WORDS[change]} during the migration", field="slot", value=number
            )
        for slot, now, change in changes:
            self._follow(slot, now, change)
        if self._spec.on_layout_change is model.LayoutChange.FOLLOW:
            for life in new:
                self._add(life)
        self._see_layout()

    def _note(self, slot: int, change: _Change) -> None:
        self._unproved.add(slot)
        if not any(e.slot == slot and e.change == change for e in self.changed_slots):
            self.changed_slots.append(
                model.ChangedSlot(slot=slot, change=change, now_ns=self.now_ns)
            )

    def _selects(self, life: model.MemslotLife) -> bool:
        if self._spec.slots is not None:
            return life.slot in self._spec.slots
        logs = life.log is not None and not self._tracking.holds_log(life)
        return self._spec.enable_logging or logs

    def _follow(self, slot: SourceSlot, life: model.MemslotLife | None, change: _Change) -> None:
        follows = self._spec.on_layout_change is model.LayoutChange.FOLLOW
        if change == "moved" and life is not None:
            slot.life = life
            slot.view = self._backend.query(model.GetMemslot(slot=life.slot))
            if follows:
                self._unproved.discard(life.slot)
            return
        self.slots.remove(slot)
        if slot.holds_log:
            self._tracking.release_log(self._backend, slot.life)
        self.pending_pages -= popcount(slot.pending)
        self._touched = {at: each for at, each in self._touched.items() if each is not slot}
        self._cursor = (0, 0)
        if life is not None and not follows:
            self._dropped.append(slot)
        elif follows and life is not None:
            self._add(life)
        elif follows:
            self._unproved.discard(slot.view.slot)

    def _add(self, life: model.MemslotLife) -> None:
        """Migrate a slot that is there now, whole."""
        slot = SourceSlot(self._backend.query(model.GetMemslot(slot=life.slot)), life)
        self._begin_whole(slot)
        self._begin_to_log(slot)
        self.slots.append(slot)
        self.slots.sort(key=lambda each: each.view.slot)
        self._cursor = (0, 0)
        self._unproved.discard(life.slot)

    def _see_layout(self) -> None:
        self._generation = self._backend.query(model.GetGenerations()).memslots

    # The log

    def sync(self) -> None:
        """Take the log of each slot (KVM_GET_DIRTY_LOG).

        Raises:
            LayoutChangedError: A migrated slot is not what it was.
        """
        self.check_layout()
        for slot in self.slots:
            outcome = self._backend.perform(model.GetDirtyLog(slot=slot.view.slot))
            assert outcome.bitmap is not None, "a get has a bitmap"
            self._tracking.count(outcome)
            found = self._add_pending(slot, outcome.bitmap.words)
            if outcome.accelerator is None and self.is_manual:
                slot.reported = outcome.bitmap.words.copy()
            self.row.dirty_pages += found
            self.row.get_ns += self._account(outcome)

    def add_pending(self, slot: int, words: Words) -> bool:
        """Have pages sent that another reader of the log took; return whether the slot is migrated."""
        for each in self.slots:
            if each.view.slot == slot and len(each.pending) == len(words):
                self._add_pending(each, words)
                return True
        return False

    def _add_pending(self, slot: SourceSlot, words: Words) -> int:
        """Add pages to send; return how many were not to be sent before."""
        found = popcount(words & ~slot.pending)
        slot.pending |= words
        self.pending_pages += found
        return found

    def _clear(self, slot: SourceSlot, chunk: int) -> None:
        """Clear the reported pages of a chunk (KVM_CLEAR_DIRTY_LOG)."""
        first = chunk * self._chunk_words
        reported = slot.reported[first : first + self._chunk_words]
        if not reported.any():
            return
        first_page = first * WORD_BITS
        outcome = self._backend.perform(
            model.ClearDirtyLog(
                slot=slot.view.slot,
                pages=model.Bitmap(reported.copy()),
                first_page=first_page,
                num_pages=min(self._spec.clear_chunk_pages, slot.view.npages - first_page),
            )
        )
        reported[:] = 0
        self.row.clear_ns += self._account(outcome)
        self.row.clears += 1

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
        self.owed_ns += cost_ns
        return cost_ns

    # Pages to send

    def take(self, count: int) -> list[Piece]:
        """Read the next pages to send, from where the last call ended on: `count` at most.

        They arrive with the versions of now. Pages that the guest gave up are not counted.

        Raises:
            LayoutChangedError: A migrated slot is not what it was.
        """
        if self._frozen is None:
            self.check_layout()
        pieces = []
        while count > 0 and self.pending_pages:
            piece = self._take_piece(count)
            count -= piece.pages
            if piece.pages:
                pieces.append(piece)
        return pieces

    def _take_piece(self, count: int) -> Piece:
        number, first, end = self._next_words()
        slot = self.slots[number]
        words = slot.pending[first:end]
        counts = np.bitwise_count(words)
        pages = int(counts.sum(dtype=np.int64))
        if pages > count:
            at, before = word_of_rank(counts, count - 1)
            end = first + at + 1
            words = slot.pending[first:end]
            taken = words.copy()
            taken[at] = first_bits(int(taken[at]), count - before)
            pages = count
        else:
            taken = words.copy()
        if self.is_manual:
            chunk = first // self._chunk_words
            if self._spec.clear_order is model.ClearOrder.BEFORE_COPY:
                self._clear(slot, chunk)
            else:
                slot.reported[first:end] |= taken
                self._touched[slot.view.slot, chunk] = slot
        words &= ~taken
        self.pending_pages -= pages
        self._cursor = (number, end if not words[-1] else end - 1)
        return self._read(slot, first, taken, pages)

    def _read(self, slot: SourceSlot, first: int, taken: Words, pages: int) -> Piece:
        """Read pages: the destination has them as they are now."""
        if self.pages_vary:
            free = self._free(slot, first, len(taken))
            if free is not None:
                taken &= ~free
                skipped = pages - popcount(taken)
                self.row.skipped_pages += skipped
                pages -= skipped
        if slot.copy is not None:
            slot.copy.receive(first * WORD_BITS, taken, self._last_version())
        return Piece(slot, first, taken, pages, self._zero_pages(slot, first, taken, pages))

    def _zero_pages(self, slot: SourceSlot, first: int, taken: Words, pages: int) -> int:
        """Count the pages that are known never to have been written."""
        if not (self._spec.zero_pages and pages):
            return 0
        written = self._backend.query(
            model.GetWrittenPages(
                slot=slot.view.slot,
                first_page=first * WORD_BITS,
                num_pages=self._pages_of(slot, first, taken),
            )
        ).bitmap
        return 0 if written is None else popcount(taken & ~written.words)

    def pages_before_clear(self) -> int:
        """Count the pages that can be sent before a further chunk has to be cleared; at least one."""
        if not self.is_manual:
            return self.pending_pages
        number, first, _ = self._next_words()
        slot = self.slots[number]
        end = (first // self._chunk_words + 1) * self._chunk_words
        return popcount(slot.pending[first:end])

    def _pages_of(self, slot: SourceSlot, first: int, words: Words) -> int:
        return min(len(words) * WORD_BITS, slot.view.npages - first * WORD_BITS)

    def _next_words(self) -> tuple[int, int, int]:
        """Find the next words with pages to send, within one chunk; there are some.

        Returns:
            The slot, by its place among `slots`, the first word and the end.
        """
        at, word = self._cursor
        while True:
            if at >= len(self.slots):
                at, word = 0, 0
            slot = self.slots[at]
            if word >= len(slot.pending):
                at, word = at + 1, 0
                continue
            chunk_end = (word // self._chunk_words + 1) * self._chunk_words
            end = min(word + _SCAN_WORDS, chunk_end, len(slot.pending))
            found = np.flatnonzero(slot.pending[word:end])
            if len(found):
                return at, word + int(found[0]), end
            # Long empty stretches at once: up to the next word that has something
            rest = slot.pending[end:]
            following = int(np.argmax(rest != 0)) if len(rest) and rest.any() else len(rest)
            word = end + following

    def take_pages(self, slot: SourceSlot, words: Words) -> Piece:
        """Read pages out of turn: those that the destination's guest needs now."""
        slot.pending &= ~words
        pages = popcount(words)
        self.pending_pages -= pages
        return self._read(slot, 0, words.copy(), pages)

    def put_back(self, piece: Piece) -> None:
        """Have pages sent again that did not arrive, of a slot that is still migrated."""
        if piece.slot not in self.slots:
            return
        end = piece.first_word + len(piece.words)
        words = np.zeros_like(piece.slot.pending)
        words[piece.first_word : end] = piece.words
        self._add_pending(piece.slot, words)

    def finish_chunks(self) -> None:
        """Clear the chunks that have been copied, where that comes after the copy."""
        for (_, chunk), slot in list(self._touched.items()):
            first = chunk * self._chunk_words
            if not slot.pending[first : first + self._chunk_words].any():
                self._clear(slot, chunk)
                del self._touched[slot.view.slot, chunk]

    def remaining_pages(self) -> int:
        """Count the pages that are pending or in the logs."""
        return sum(popcount(self._known(slot)) for slot in self.slots)

    # Time

    def spend(self, duration_ns: int) -> Iterator[None]:
        """Let the guest run for a while; paused, only the clock advances."""
        left_ns = duration_ns
        while left_ns > 0:
            next_ns = self._uncut_ns(left_ns)
            if self.is_paused:
                self._backend.perform(model.AdvanceClock(duration_ns=next_ns))
                left_ns -= next_ns
                if not left_ns:
                    return
            else:
                left_ns -= self.run_guest(next_ns)
            yield

    def _uncut_ns(self, duration_ns: int) -> int:
        """Return how much of a while passes before a measurement ends or something is due."""
        now_ns = self.now_ns
        ends = (self._tracking.until_ns, self.due_ns if self.is_paused else None)
        left = (end_ns - now_ns for end_ns in ends if end_ns is not None and end_ns > now_ns)
        return min((duration_ns, *left))

    def pay(self) -> Iterator[None]:
        """Let the time pass that is owed."""
        owed_ns, self.owed_ns = self.owed_ns, 0
        yield from self.spend(owed_ns)

    def run_guest(self, duration_ns: int) -> int:
        """Let the guest run, for less than requested where it would write too much at once."""
        run, ran_ns = run_guest(self._backend, duration_ns, self.throttle_percent)
        row = self.row
        row.guest_ns += run.guest_ns
        row.guest_stall_ns += run.stalled_ns
        row.throttled_ns += run.throttled_ns
        row.guest_writes += run.writes
        row.permission_faults += run.permission_faults
        row.translation_faults += run.translation_faults
        return ran_ns

    # The proof

    def verify(self, *, is_complete: bool) -> model.Verification:
        """Compare the destination with the source.

        Args:
            is_complete: Nothing more will be sent; else what is known to be left is not lost.
        """
        judgement = Judgement()
        for slot in self.slots:
            assert slot.copy is not None, "a proof has copies"
            try:
                versions = self.versions(slot)
            except KvmError:
                judgement.cannot_compare(slot.view.slot)
                continue
            known = np.zeros_like(slot.pending) if is_complete else self._known(slot)
            judgement.compare(slot.copy, versions, known, self._free(slot))
        return self.verdict(judgement)

    def verdict(self, judgement: Judgement) -> model.Verification:
        """Return what a judgement proves, for the changes of the layout."""
        for number in self._unproved | self._unknown_bases:
            judgement.cannot_compare(number)
        return judgement.verdict()

    def _known(self, slot: SourceSlot) -> Words:
        """Return what has to be sent; what the destination's guest writes is none of that."""
        return slot.pending if self._frozen is not None else slot.pending | self._log(slot)

    def _log(self, slot: SourceSlot) -> Words:
        """Return what the log names; nothing if the slot keeps none, or is another one."""
        try:
            log = self._backend.query(model.PeekDirtyLog(slot=slot.view.slot)).bitmap
        except KvmError:
            log = None
        if log is None or len(log) != len(slot.pending):
            return np.zeros_like(slot.pending)
        return log.words

    def _free(self, slot: SourceSlot, first: int = 0, words: int | None = None) -> Words | None:
        """Return what the guest has given up, or had at the stop, of a window of words."""
        end = len(slot.pending) if words is None else first + words
        if self._frozen is not None:
            return None if slot.free is None else slot.free[first:end]
        free = self._backend.query(
            model.GetFreePages(
                slot=slot.view.slot,
                first_page=first * WORD_BITS,
                num_pages=min(end * WORD_BITS, slot.view.npages) - first * WORD_BITS,
            )
        ).bitmap
        return None if free is None else free.words

    def has(self, slot: SourceSlot) -> bool:
        """Return whether a slot is still the one that is migrated."""
        now = self._backend.query(model.GetMemslotLife(slot=slot.life.slot))
        return now is not None and now.created == slot.life.created

    def versions(self, slot: SourceSlot) -> Versions:
        """Return the versions of a slot's pages, uint32[npages].

        Raises:
            VersionsEndedError: They are not tracked any more.
            KvmError: The slot is gone.
        """
        if not self.has(slot):
            raise LayoutChangedError(f"slot {slot.view.slot} is another one", field="slot")
        return versions_of(self._backend, slot.view.slot)

    def freeze_versions(self) -> None:
        """Read pages as they are now from here on: the guest has been stopped."""
        for slot in self.slots:
            slot.free = self._free(slot)
        self._frozen = self._last_version()

    def _last_version(self) -> int:
        return last_version_of(self._backend) if self._frozen is None else self._frozen


_WORDS: Final[dict[_Change, str]] = {
    "appeared": "appeared",
    "went": "was deleted",
    "replaced": "was deleted and made again",
    "moved": "moved",
    "logging_ended": "stopped logging",
}


def _thin(words: Words) -> Words:
    """Return words, new ones where none has a bit: these take no memory until they are written."""
    return words if words.any() else np.zeros(len(words), np.uint64)


def _change_of(was: model.MemslotLife, now: model.MemslotLife | None) -> _Change | None:
    """Return what has become of a slot; None: it is as it was."""
    if now is None:
        return "went"
    if now.created != was.created:
        return "replaced"
    if was.log is not None and now.log != was.log:
        return "logging_ended"
    return "moved" if now.base_gfn != was.base_gfn else None


def _slots_of(
    backend: model.Backend, spec: model.MigrationSpec, tracking: DirtyTracking
) -> tuple[list[SourceSlot], set[int]]:
    """Return the slots to migrate, and those whose log another reader of the VMM has begun."""
    while True:  # another thread may change the slots between two queries
        lives = backend.query(model.ListMemslotLives())
        borrowed = {life.slot for life in lives if tracking.holds_log(life)}
        views = check_spec(spec, backend, borrowed)
        if lives == backend.query(model.ListMemslotLives()):
            by_slot = {life.slot: life for life in lives}
            return [SourceSlot(view, by_slot[view.slot]) for view in views], borrowed
