"""What the syncs of a migration measure: the dirty rate, progress, and whether to throttle."""

from typing import Final

from hacdbs_sim.model import MigrationSpec
from hacdbs_sim.model.migrations import NS_PER_SECOND
from hacdbs_sim.vmm.source import Source
from hacdbs_sim.vmm.stream import TARGET_PAGE_BYTES, Stream
from hacdbs_sim.vmm.throttle import Throttle

RATE_PERIOD_NS: Final = NS_PER_SECOND
"""Syncs measure the dirty rate, and may throttle, once more than this has passed."""

PERIODIC_SYNC_NS: Final = 5 * NS_PER_SECOND
"""How often auto-converge looks whether a pass needs a sync of its own."""


class Syncs:
    """The syncs of one migration.

    Args:
        source: Whose logs are taken.
        stream: What is sent, and QEMU's statistics.
        throttle: What slows the guest.
    """

    def __init__(self, source: Source, stream: Stream, throttle: Throttle) -> None:
        self._source = source
        self._stream = stream
        self._throttle = throttle
        self._synced_ns = self._rates_ns = self._ticked_ns = source.now_ns
        self._dirty_pages = self._sent_bytes = self._ticked_syncs = 0
        # The least that a pass began with, and when it did
        self._least: tuple[int, int] | None = None

    def take(self, number: int) -> None:
        """Take the log of all slots for a pass (migration_bitmap_sync).

        Raises:
            LayoutChangedError: A migrated slot is not what it was.
            KvmError: The machine refused.
        """
        source, stats = self._source, self._stream.stats
        source.sync()
        now_ns, row = source.now_ns, source.row
        stats.syncs += 1
        stats.remaining_at_sync = source.pending_pages * source.page_size
        self._dirty_pages += row.dirty_pages
        if number and (self._least is None or source.pending_pages < self._least[0]):
            self._least = (source.pending_pages, now_ns)
        if number and not source.is_paused and now_ns > self._synced_ns:
            elapsed_ns = now_ns - self._synced_ns
            row.dirty_pages_per_second = row.dirty_pages * NS_PER_SECOND // elapsed_ns
        self._synced_ns = now_ns
        if now_ns - self._rates_ns > RATE_PERIOD_NS:
            self._measure(now_ns)

    def _measure(self, now_ns: int) -> None:
        """Look at what was dirtied and sent since the last look."""
        source, stats = self._source, self._stream.stats
        self._throttle.look(
            dirty_bytes=self._dirty_pages * source.page_size,
            sent_bytes=stats.transferred - self._sent_bytes,
        )
        dirty_pages = self._dirty_pages * source.page_size // TARGET_PAGE_BYTES
        stats.dirty_pages_rate = dirty_pages * NS_PER_SECOND // (now_ns - self._rates_ns)
        self._rates_ns, self._dirty_pages = now_ns, 0
        self._sent_bytes = stats.transferred

    def is_periodic_due(self, spec: MigrationSpec) -> bool:
        """Tick every 5 seconds; return whether no sync has come since the last tick."""
        due_ns, now_ns = self.next_tick_ns(spec), self._source.now_ns
        if due_ns is None or now_ns < due_ns:
            return False
        self._ticked_ns += (now_ns - self._ticked_ns) // PERIODIC_SYNC_NS * PERIODIC_SYNC_NS
        syncs, before = self._stream.stats.syncs, self._ticked_syncs
        self.see_tick()
        return syncs > 1 and syncs == before

    def see_tick(self) -> None:
        """Remember the count of syncs at a tick, or after the sync that came of it."""
        self._ticked_syncs = self._stream.stats.syncs

    def next_tick_ns(self, spec: MigrationSpec) -> int | None:
        """Return when auto-converge looks next; None: it does not."""
        converge = spec.auto_converge
        if converge is None or not converge.periodic_sync:
            return None
        return self._ticked_ns + PERIODIC_SYNC_NS

    def stalls_ns(self, spec: MigrationSpec) -> int | None:
        """Return when the migration has stalled, unless a pass begins with less; None: never."""
        if spec.stall_ns is None or self._least is None:
            return None
        return self._least[1] + spec.stall_ns
