"""Post-copy: the guest runs at the destination, and what it lacks is sent behind it.

What was stale at the stop is dropped at the destination before its guest runs. A background stream sends
it; a fault of the guest on a missing page is a request, which comes ahead of that stream and keeps
the vCPU for two ways of the link and the page's time. The guest of the simulated machine runs on as the
destination's: its writes from here on are no part of the proof, and a page that it wrote is never
overwritten, because it has been fetched before.

Time is cut into slices. The faults of a slice are the missing pages that the guest, a call or a schedule has
written since the end of the slice before. While the link is broken, the guest stands still.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim import model
from hacdbs_sim.model.migrations import NS_PER_SECOND
from hacdbs_sim.model.pages import flags_of, words_of
from hacdbs_sim.model.words import WORD_BITS, Words, popcount
from hacdbs_sim.vmm.copy import Judgement
from hacdbs_sim.vmm.errors import LinkFailedError
from hacdbs_sim.vmm.link import Link, earliest
from hacdbs_sim.vmm.source import Piece, Source, SourceSlot
from hacdbs_sim.vmm.stream import Stream

if TYPE_CHECKING:
    from hacdbs_sim.vmm.versions import Versions

MIN_SLICE_NS: Final = 1_000_000
MAX_SLICE_NS: Final = 50_000_000
SLICES: Final = 200
"""Into how many slices the rest is cut, within the two bounds."""


class _Requested(NamedTuple):
    """What the faults of a slice fetched."""

    requests: int
    pages: int


class Postcopy:
    """The post-copy phase of one migration.

    Args:
        backend: The machine: the source's memory, and the destination's guest.
        source: What has to be sent.
        stream: What sends it.
        link: What carries it.
        started_ns: The clock when the guest was stopped.

    Attributes:
        wants_pause: Whether it is to pause, as QEMU's migrate-pause.
        guest_lost: Whether neither side has all of the guest any more.
    """

    def __init__(
        self,
        backend: model.Backend,
        source: Source,
        stream: Stream,
        link: Link,
        started_ns: int,
    ) -> None:
        self.wants_pause = False
        self.guest_lost = False
        self._backend = backend
        self._source = source
        self._stream = stream
        self._link = link
        self._started_ns = started_ns
        self._vcpus = backend.query(model.GetConfig()).vcpus
        self._missing: dict[int, Words] = {}
        self._at_stop: dict[int, Versions] = {}
        self._seen: dict[int, Versions] = {}  # at the end of the last slice
        self._discarded = self._background = self._requests = self._requested = 0
        self._blocked_ns = self._pauses = 0
        self._to_stand_ns = 0  # how long the guest still waits for what it has requested
        self._slice_ns = MIN_SLICE_NS
        self._carried = 0  # bytes by a nanosecond that the link had time for

    def report(self) -> model.PostcopyReport:
        """Return what has happened so far."""
        return model.PostcopyReport(
            started_ns=self._started_ns,
            discarded_pages=self._discarded,
            background_pages=self._background,
            requests=self._requests,
            requested_pages=self._requested,
            blocked_ns=self._blocked_ns,
            pauses=self._pauses,
            guest_lost=self.guest_lost,
        )

    def discard(self) -> None:
        """Drop at the destination what is stale, and fix what the proof is against."""
        source = self._source
        source.freeze_versions()
        self._stream.arrive()
        for slot in source.slots:
            self._missing[slot.view.slot] = slot.pending.copy()
            self._seen[slot.view.slot] = source.versions(slot)
            if slot.copy is not None:
                slot.copy.forget(0, slot.pending)
                self._at_stop[slot.view.slot] = self._seen[slot.view.slot]
        self._discarded = source.pending_pages

    def chunk(self, spec: model.PostcopySpec | None, deadline_ns: int | None) -> Iterator[None]:
        """Let the guest run for a slice, fetch what it faulted on, and send on.

        Raises:
            LinkFailedError: The connection has broken, or a pause was requested.
        """
        source = self._source
        if self.wants_pause:
            self.wants_pause = False
            raise LinkFailedError("post-copy was paused")
        rate = self._link.rate(source.now_ns)
        if not rate:
            yield from self.wait(self._link.next_change_ns(), deadline_ns)
            return
        limit = spec.bandwidth_bytes_per_second if spec else None
        bandwidth = min(rate, limit) if limit else rate
        most_ns = MAX_SLICE_NS
        if (end_ns := self._link.next_end_ns(deadline_ns)) is not None:
            most_ns = min(most_ns, max(end_ns - source.now_ns, 1))
        if self._to_stand_ns:
            passed_ns = min(most_ns, self._to_stand_ns)
            self._to_stand_ns -= passed_ns
            self._stand_still(passed_ns)
            if not self._to_stand_ns:
                self._stream.arrive()  # what it waited for
            self._send(passed_ns, bandwidth)
            yield
            return
        rest_ns = source.pending_pages * source.page_size * NS_PER_SECOND // bandwidth
        planned_ns = max(rest_ns // SLICES, MIN_SLICE_NS)
        passed_ns = min(planned_ns, self._slice_ns, most_ns)
        yield from source.spend(passed_ns)
        self._stream.arrive()  # what was sent before: the guest may have written it
        requested = self._fetch()
        self._to_stand_ns = self._blocked(requested, rate)
        # A guest that faults much runs for less at a time, so that its faults come in order
        is_slow = self._to_stand_ns > MAX_SLICE_NS
        self._slice_ns = max(passed_ns // 2, 1_000) if is_slow else min(passed_ns * 2, MAX_SLICE_NS)
        self._carried -= requested.pages * self._stream.page_bytes * NS_PER_SECOND
        self._send(passed_ns, bandwidth)

    @property
    def is_over(self) -> bool:
        """Whether everything has arrived, and the guest waits for nothing."""
        return not self._source.pending_pages and not self._to_stand_ns

    def _send(self, duration_ns: int, bandwidth: int) -> None:
        """Send what the background stream has had time for."""
        page = self._stream.page_bytes * NS_PER_SECOND
        self._carried += duration_ns * bandwidth
        pieces = self._source.take(max(self._carried // page, 0))
        self._arrive(pieces)
        pages = sum(piece.pages for piece in pieces)
        self._carried -= pages * page
        self._background += pages

    def _fetch(self) -> _Requested:
        """Fetch the missing pages that were written since the last slice."""
        requests = pages = 0
        for slot in self._source.slots:
            if not slot.pending.any():
                continue
            then, now = self._seen[slot.view.slot], self._source.versions(slot)
            self._seen[slot.view.slot] = now
            faults = words_of(now != then) & slot.pending
            blocks = self._blocks(slot, faults)
            if blocks.any():
                fetched = self._whole_blocks(slot, blocks)
                requests += int(np.count_nonzero(blocks))
                pages += popcount(fetched)
                self._arrive([self._source.take_pages(slot, fetched)])
        self._requests += requests
        self._requested += pages
        self._stream.stats.requests += requests
        self._source.row.requested_pages += pages
        return _Requested(requests, pages)

    def _block_pages(self, slot: SourceSlot) -> int:
        return max(slot.view.backing // self._source.page_size, 1)

    def _blocks(self, slot: SourceSlot, faults: Words) -> NDArray[np.bool_]:
        """Return in which blocks of the backing there are faults: booleans."""
        size = self._block_pages(slot)
        flags = flags_of(faults)
        padded = -(-len(flags) // size) * size
        blocks = np.zeros(padded // size, np.bool_)
        np.pad(flags, (0, padded - len(flags))).reshape(-1, size).any(axis=1, out=blocks)
        return blocks

    def _whole_blocks(self, slot: SourceSlot, blocks: NDArray[np.bool_]) -> Words:
        """Return the missing pages of blocks, uint64 words."""
        flags = np.repeat(blocks, self._block_pages(slot))[: len(slot.pending) * WORD_BITS]
        return words_of(flags) & slot.pending

    def _blocked(self, requested: _Requested, rate: int) -> int:
        """Return how long requests keep the guest: each vCPU has one of its own on the way."""
        if not requested.requests:
            return 0
        rounds = -(-requested.requests // self._vcpus)
        return 2 * self._link.latency_ns * rounds + self._stream.page_ns(requested.pages, rate)

    def _stand_still(self, duration_ns: int) -> None:
        self._backend.perform(model.AdvanceClock(duration_ns=duration_ns))
        self._blocked_ns += duration_ns
        self._source.row.blocked_ns += duration_ns

    def _arrive(self, pieces: list[Piece]) -> None:
        self._stream.account(pieces)
        for piece in pieces:
            missing = self._missing[piece.slot.view.slot]
            missing[piece.first_word : piece.first_word + len(piece.words)] &= ~piece.words

    # Failures

    def break_off(self) -> None:
        """Lose what is on the way: the source has sent it, and the destination has not got it."""
        self._pauses += 1
        for piece in self._stream.lose_in_flight():
            missing = self._missing[piece.slot.view.slot]
            missing[piece.first_word : piece.first_word + len(piece.words)] |= piece.words

    def wait(self, until_ns: int | None, deadline_ns: int | None) -> Iterator[None]:
        """Let time pass while nothing arrives: the guest stands still."""
        left_ns = (earliest(until_ns, deadline_ns) or 0) - self._source.now_ns
        if left_ns > 0:
            self._stand_still(left_ns)
        yield

    def resume(self) -> None:
        """Ask the destination what it has, and send the rest."""
        for slot in self._source.slots:
            self._source.add_pending(slot.view.slot, self._missing[slot.view.slot])

    def verify(self, *, is_complete: bool) -> model.Verification:
        """Compare the destination with the source as it was at the stop."""
        judgement = Judgement()
        for slot in self._source.slots:
            number = slot.view.slot
            assert slot.copy is not None, "a proof has copies"
            known = slot.pending | self._missing[number]
            if is_complete or not self._source.has(slot):
                known = np.zeros_like(known)
            judgement.compare(slot.copy, self._at_stop[number], known, slot.free)
        return self._source.verdict(judgement)
