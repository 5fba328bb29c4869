"""The migration stream: what is on the wire, the rate limit, and what QEMU measures of it.

QEMU sends in windows of 100 ms. Pages go at the link's speed, in flushes of 128 KiB, until the bytes of
the window exceed a tenth of max-bandwidth; then it sleeps until the window ends. What went over is not
carried on. At the end of a window it measures its bandwidth, and from that what may remain at the
switch-over: the threshold (docs/migrations.md, Timing).
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np

from hacdbs_sim.model import MigrationSpec, Timing
from hacdbs_sim.model.migrations import NS_PER_SECOND
from hacdbs_sim.model.pages import flags_of, words_of
from hacdbs_sim.model.words import WORD_BITS, Words, popcount
from hacdbs_sim.vmm.link import Link, transmission
from hacdbs_sim.vmm.source import Piece, Source

Steps: TypeAlias = Generator[None, None, None]

WINDOW_NS: Final = 100_000_000
WAKE_UP_NS: Final = 750_000
"""How late the sleep at the end of a window ends."""

CHUNK_NS: Final = 51_000_000
"""How long one call of the iteration sends: more than 50 whole milliseconds (MAX_WAIT)."""

PAGES_PER_LOOK: Final = 64
"""After how many pages it looks at the clock."""

TARGET_PAGE_BYTES: Final = 4_096
"""Pages of the stream are of 4 KiB, whatever the guest's are."""

PAGE_HEADER_BYTES: Final = 8
ZERO_PAGE_BYTES: Final = 9
CHUNK_BYTES: Final = 18
PAGES_PER_FLUSH: Final = 32
ZERO_SCAN_NS: Final = 250
"""To find that a page is zero, a few GiB a second."""

MAX_WINDOWS: Final = 64
"""The most windows in one step."""

STEPS_PER_PASS: Final = 128
"""A step of several windows sends no more than this part of what has to be sent."""

_MIN_MEASURED_BYTES: Final = 10_000


@dataclass(slots=True)
class Statistics:
    """QEMU's mig_stats, in bytes and pages of 4 KiB.

    Attributes:
        transferred: Bytes on the wire.
        normal: Pages sent with their content.
        duplicate: Zero pages.
        precopy: Bytes of pages while the guest ran at the source.
        downtime: Bytes of pages while it was paused.
        postcopy: Bytes of pages while it ran at the destination.
        requests: Faults of the destination's guest.
        syncs: How often the log was taken.
        dirty_pages_rate: Pages dirtied a second.
        remaining_at_sync: Bytes that had to be sent just after the last sync.
        expected_downtime_ns: How long these would take.
        mbps: Of the last window.
        pages_per_second: Of the last window.
    """

    transferred: int = 0
    normal: int = 0
    duplicate: int = 0
    precopy: int = 0
    downtime: int = 0
    postcopy: int = 0
    requests: int = 0
    syncs: int = 0
    dirty_pages_rate: int = 0
    remaining_at_sync: int = 0
    expected_downtime_ns: int = 0
    mbps: float = 0.0
    pages_per_second: int = 0


class Stream:
    """The stream of one migration.

    Args:
        source: Where the pages come from.
        link: What carries them.
        spec: How the migration is run.

    Attributes:
        bandwidth: The limit, in bytes a second.
        page_bytes: The bytes of a page on the wire.
        threshold_bytes: What may remain at the switch-over.
        stats: QEMU's statistics.
        phase: Where bytes are counted.
    """

    def __init__(self, source: Source, link: Link, spec: MigrationSpec) -> None:
        self._source = source
        self._link = link
        self._is_exact = spec.timing is Timing.EXACT
        self.bandwidth = spec.bandwidth_bytes_per_second
        self.switchover_bandwidth = spec.switchover_bandwidth_bytes_per_second
        self.downtime_limit_ns = spec.downtime_limit_ns
        self.threshold_bytes = 0
        self.stats = Statistics(expected_downtime_ns=spec.downtime_limit_ns)
        self.phase: Literal["precopy", "downtime", "postcopy"] = "precopy"
        self._target_pages = source.page_size // TARGET_PAGE_BYTES
        self.page_bytes = self._target_pages * (TARGET_PAGE_BYTES + PAGE_HEADER_BYTES)
        self._flush_pages = max(PAGES_PER_FLUSH // self._target_pages, 1)
        self._window_ns = source.now_ns
        self._window_bytes = 0
        self._last_setting: tuple[int | None, ...] = ()
        self._transferred_before = self._pages_before = 0
        self._carried = 0
        self._last_sent: Sequence[Piece] = []

    # Windows

    def chunk(self, deadline_ns: int | None, floor_pages: int) -> Steps:
        """Send one chunk, or several where no look between them could decide anything.

        Args:
            deadline_ns: When something else happens; it ends no later.
            floor_pages: A look decides something once fewer pages have to be sent.
        """
        source = self._source
        if self._is_window_used_up():
            yield from self._sleep(deadline_ns)
            return
        rate = self._link.rate(source.now_ns)
        if not rate:
            yield from self._wait_for_link(deadline_ns)
            return
        in_time = self._pages_in_time(deadline_ns, rate)
        if not in_time:
            yield from self._begin_page(deadline_ns, rate)
            return
        pages = min(self._chunk_pages(rate), in_time, source.pending_pages)
        windows = 1
        if self._is_exact:
            yield from self._flushes(pages, rate)
        else:
            windows = self._whole_windows(pages, rate, deadline_ns, floor_pages)
            yield from self._send(source.take(pages * windows), rate)
        self._add(CHUNK_BYTES * windows)
        source.finish_chunks()
        if windows > 1 and pages * self.page_bytes > self.bandwidth // 10:
            end_ns = self._window_ns + windows * (WINDOW_NS + WAKE_UP_NS)
            yield from source.spend(end_ns - source.now_ns)
        elif self._is_window_used_up():
            yield from self._sleep(deadline_ns)
        self._measure()
        self._last_setting = self._setting(rate)

    def _setting(self, rate: int) -> tuple[int | None, ...]:
        """Return what windows depend on: while that stays, each is like the one before."""
        return rate, self.bandwidth, self.downtime_limit_ns, self.switchover_bandwidth

    def _is_window_used_up(self) -> bool:
        return self._window_bytes > self.bandwidth // 10

    def _chunk_pages(self, rate: int) -> int:
        """Return the pages of a chunk: what the window has left, and what its time allows."""
        flush_bytes = self._flush_pages * self.page_bytes
        flushes = (self.bandwidth // 10 - self._window_bytes) // flush_bytes + 1
        look_bytes = PAGES_PER_LOOK * self.page_bytes
        looks = -(-CHUNK_NS * rate // (look_bytes * NS_PER_SECOND))
        return min(flushes * self._flush_pages, max(looks, 1) * PAGES_PER_LOOK)

    def _pages_in_time(self, deadline_ns: int | None, rate: int) -> int:
        """Return how many pages the link carries until something else happens."""
        left_ns = self._left_ns(deadline_ns)
        if left_ns is None:
            return self._source.pending_pages
        ahead = left_ns * rate - self._carried
        return max(ahead // (self.page_bytes * NS_PER_SECOND), 0)

    def _left_ns(self, deadline_ns: int | None) -> int | None:
        """Return the time until something else happens, without what is owed; None: nothing will."""
        end_ns = self._link.next_end_ns(deadline_ns)
        return None if end_ns is None else end_ns - self._source.now_ns - self._source.owed_ns

    def _begin_page(self, deadline_ns: int | None, rate: int) -> Steps:
        """Let the time pass that is too short for a page: the next page takes that much less."""
        left_ns = self._left_ns(deadline_ns)
        assert left_ns is not None, "something else happens"
        yield from self._source.pay()
        if left_ns > 0:
            self._carried -= left_ns * rate
            yield from self._source.spend(left_ns)
        self._measure()

    def _whole_windows(
        self, pages: int, rate: int, deadline_ns: int | None, floor_pages: int
    ) -> int:
        """Return how many equal chunks can be sent in one step."""
        source = self._source
        if self._window_bytes or source.windows_differ or pages < self._chunk_pages(rate):
            return 1
        if self._setting(rate) != self._last_setting:
            return 1  # its threshold is to be measured yet
        each_ns = pages * self.page_bytes * NS_PER_SECOND // rate
        if pages * self.page_bytes > self.bandwidth // 10:
            each_ns = max(each_ns, WINDOW_NS + WAKE_UP_NS)
        at_once = min(source.pending_pages - floor_pages, source.pages_before_clear())
        part = source.pending_pages // STEPS_PER_PASS
        windows = min(at_once // pages, part // pages, MAX_WINDOWS)
        if (end_ns := self._link.next_end_ns(deadline_ns)) is not None:
            windows = min(windows, (end_ns - source.now_ns) // each_ns)
        return max(windows, 1)

    def _flushes(self, pages: int, rate: int) -> Steps:
        """Send pages flush by flush: each is read when it is sent."""
        while pages > 0 and self._source.pending_pages:
            count = min(pages, self._flush_pages)
            yield from self._send(self._source.take(count), rate)
            pages -= count

    def _sleep(self, deadline_ns: int | None) -> Steps:
        """Sleep to the end of the window, or until something else happens."""
        source = self._source
        end_ns = self._window_ns + WINDOW_NS
        if end_ns > source.now_ns:
            end_ns += WAKE_UP_NS
        if deadline_ns is not None and deadline_ns < end_ns:
            yield from source.spend(deadline_ns - source.now_ns)
            return
        yield from source.spend(end_ns - source.now_ns)
        self._measure()

    def _wait_for_link(self, deadline_ns: int | None) -> Steps:
        """Let time pass while the link is down."""
        end_ns = self._link.next_end_ns(deadline_ns)
        assert end_ns is not None, "a link that is down comes up again"
        yield from self._source.spend(end_ns - self._source.now_ns)
        self._measure()

    def _measure(self) -> None:
        """Measure the bandwidth, if a window has passed (migration_update_counters)."""
        stats, now_ns = self.stats, self._source.now_ns
        spent_ns = now_ns - self._window_ns
        if spent_ns < WINDOW_NS:
            return
        octets = stats.transferred - self._transferred_before
        pages = stats.normal + stats.duplicate - self._pages_before
        bandwidth = self.switchover_bandwidth or octets * NS_PER_SECOND // spent_ns
        self.threshold_bytes = bandwidth * self.downtime_limit_ns // NS_PER_SECOND
        stats.mbps = round(octets * 8_000 / spent_ns, 3)
        stats.pages_per_second = pages * NS_PER_SECOND // spent_ns
        if stats.dirty_pages_rate and octets > _MIN_MEASURED_BYTES and bandwidth:
            stats.expected_downtime_ns = stats.remaining_at_sync * NS_PER_SECOND // bandwidth
        self._window_ns, self._window_bytes = now_ns, 0
        self._transferred_before = stats.transferred
        self._pages_before = stats.normal + stats.duplicate

    # Without a limit

    def send_all(self) -> Steps:
        """Send all that has to be sent at the link's speed, as the switch-over does."""
        source = self._source
        while source.pending_pages:
            rate = self._link.rate(source.now_ns)
            if not rate:
                yield from self._wait_for_link(None)
                continue
            pages = min(max(CHUNK_NS * rate // (self.page_bytes * NS_PER_SECOND), 1), 1 << 20)
            if in_time := self._pages_in_time(None, rate):
                yield from self._send(source.take(min(pages, in_time)), rate)
                source.finish_chunks()
            else:
                yield from self._begin_page(None, rate)
            yield

    def send_octets(self, octets: int) -> Steps:
        """Send bytes that are not pages: the state of devices. Even an end of it needs the link."""
        self._add(octets)
        while True:
            now_ns = self._source.now_ns
            rate = self._link.rate(now_ns)
            if not rate:
                yield from self._wait_for_link(None)
                continue
            change_ns = self._link.next_change_ns()
            needed_ns = octets * NS_PER_SECOND // rate
            if change_ns is None or now_ns + needed_ns <= change_ns:
                yield from self._source.spend(needed_ns)
                return
            yield from self._source.spend(change_ns - now_ns)
            octets -= (change_ns - now_ns) * rate // NS_PER_SECOND

    def page_ns(self, pages: int, rate: int) -> int:
        """Return how long pages take at a rate."""
        return transmission(pages * self.page_bytes, rate, 0)[0]

    # Pages

    def _send(self, pieces: Sequence[Piece], rate: int) -> Steps:
        """Send pages that have been read; the time that they take and the time owed pass."""
        octets = self.account(pieces)
        line_ns, self._carried = transmission(octets, rate, self._carried)
        zero_pages = sum(piece.zero_pages for piece in pieces)
        yield from self._source.spend(line_ns + zero_pages * ZERO_SCAN_NS)
        yield from self._source.pay()

    def account(self, pieces: Sequence[Piece]) -> int:
        """Account for pages that are sent; return their bytes on the wire."""
        pages = sum(piece.pages for piece in pieces)
        zero_pages = sum(piece.zero_pages for piece in pieces)
        row, stats = self._source.row, self.stats
        if pieces:
            self._last_sent = pieces[-1:]
        row.sent_pages += pages
        row.zero_pages += zero_pages
        row.sent_bytes += (pages - zero_pages) * self._source.page_size
        stats.normal += (pages - zero_pages) * self._target_pages
        stats.duplicate += zero_pages * self._target_pages
        octets = (pages - zero_pages) * self.page_bytes
        octets += zero_pages * self._target_pages * ZERO_PAGE_BYTES
        setattr(stats, self.phase, getattr(stats, self.phase) + octets)
        self._add(octets)
        return octets

    def arrive(self) -> None:
        """Let what is on the way arrive."""
        self._last_sent = []

    def in_flight(self) -> list[Piece]:
        """Return the pages of the last flush, which may not have arrived."""
        pieces = []
        for piece in self._last_sent:
            words = last_bits(piece.words, self._flush_pages)
            pieces.append(replace(piece, words=words, pages=popcount(words), zero_pages=0))
        return pieces

    def lose_in_flight(self) -> list[Piece]:
        """Lose the last flush: the link broke before it arrived; return its pages."""
        lost = self.in_flight()
        for piece in lost:
            if piece.slot.copy is not None:
                piece.slot.copy.forget(piece.first_word * WORD_BITS, piece.words)
        self._last_sent = []
        return lost

    def _add(self, octets: int) -> None:
        self.stats.transferred += octets
        self._window_bytes += octets


def last_bits(words: Words, count: int) -> Words:
    """Keep the highest `count` set bits of words."""
    flags = flags_of(words)
    flags[np.flatnonzero(flags)[:-count]] = False
    return words_of(flags)
