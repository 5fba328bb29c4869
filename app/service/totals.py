"""The sums over all machines since the start, for /metrics."""

from collections import Counter
from collections.abc import Mapping
from threading import Lock

from hacdbs_sim.model import DirtyLog, FaultType


class Totals:
    """Monotonic sums over all get and clear calls; machines report from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.cleaned_pages: Counter[str] = Counter(hardware=0, software=0)
        self.requeued_pages = 0
        self.hook_calls: Counter[str] = Counter(cleaned=0, declined=0, partial=0)
        self.fault_hits: Counter[str] = Counter()

    def record(self, outcome: DirtyLog) -> None:
        """Add one call of the dirty log."""
        hook, software = outcome.accelerator, outcome.software
        with self._lock:
            if software is not None and software.ran:
                self.cleaned_pages["software"] += software.pages
            if hook is not None:
                self.cleaned_pages["hardware"] += hook.cleaned
                self.requeued_pages += hook.requeued
                self.hook_calls[hook.outcome] += 1

    def record_hits(self, hits: Mapping[FaultType, int], before: Mapping[FaultType, int]) -> None:
        """Add what a machine's faults have hit beyond the hits that they had before."""
        with self._lock:
            for kind, count in hits.items():
                if new := count - before.get(kind, 0):
                    self.fault_hits[kind] += new
