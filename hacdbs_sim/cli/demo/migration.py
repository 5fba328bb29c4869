"""The source side of a live migration, as a client of the service: guest rounds and collections.

Each vCPU writes from a thread of its own, over HTTP, while the log is collected; the ledger checks
the results.
"""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Final

import numpy as np

from hacdbs_sim.cli.demo.ledger import Ledger, PageMask
from hacdbs_sim.cli.demo.traces import Program, written_in
from hacdbs_sim.client import ConflictError, Vm
from hacdbs_sim.client.connecting import TIMEOUT_SECONDS
from hacdbs_sim.model import DirtyLog

CHUNK_PAGES: Final = 65_536
"""Pages of one clear: 256 MiB, as in QEMU."""

CALLS_PER_ROUND: Final = 4
"""Requests of a vCPU in a round, so that collections fall between them."""


@dataclass(slots=True, eq=False)
class Phase:
    """A phase of the demo, with counts of pages."""

    name: str
    rounds: int
    rounds_done: int = 0
    written: int = 0
    reported: int = 0
    hardware: int = 0
    software: int = 0
    requeued: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a note, unless the phase has it already."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True, slots=True)
class FaultOutcome:
    """An armed fault and how often it hit."""

    type: str
    op: str
    hits: int


@dataclass(slots=True, eq=False)
class DemoMigration:
    """A VM whose guest runs while the dirty log of its only memslot is collected.

    Attributes:
        guest: The programs of each vCPU.
        vcpus: The vCPUs' threads.
        report: Called with the current phase whenever it has changed.
    """

    vm: Vm
    guest: Sequence[Sequence[Program]]
    vcpus: ThreadPoolExecutor
    ledger: Ledger
    base_gfn: int
    intervals_per_round: int
    report: Callable[[Phase], None]
    phases: list[Phase] = field(default_factory=list)
    faults: list[FaultOutcome] = field(default_factory=list)
    is_manual: bool = False
    _next_interval: int = 0
    # Guards the ledger: the threads of the vCPUs use it, and the collector
    _lock: Lock = field(default_factory=Lock)
    # Set by the first response to a write of a round
    _under_way: Event = field(default_factory=Event)

    @contextmanager
    def phase(self, name: str, rounds: int = 0) -> Generator[Phase]:
        """Begin a phase; its rounds and collections are counted for it."""
        phase = Phase(name, rounds)
        self.phases.append(phase)
        self.report(phase)
        yield phase
        self.report(phase)

    def set_manual_protect(self, flags: int) -> None:
        """Set KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2."""
        self.vm.update(manual_dirty_log_protect2=flags)
        self.is_manual = bool(flags)

    @contextmanager
    def round(self) -> Generator[None]:
        """Run the guest for a round: its vCPUs write while the body runs."""
        before = self.ledger.counts.written
        self._under_way.clear()
        intervals = range(self._next_interval, self._next_interval + self.intervals_per_round)
        self._next_interval = intervals.stop
        running = [
            self.vcpus.submit(self._run_vcpu, vcpu, programs, intervals)
            for vcpu, programs in enumerate(self.guest)
        ]
        try:
            yield
        finally:
            for vcpu in running:
                vcpu.result()
        phase = self.phases[-1]
        phase.rounds_done += 1
        phase.written += self.ledger.counts.written - before
        self.report(phase)

    def guest_round(self) -> None:
        """Run a round without a collection: which pages are owed after it is known exactly."""
        with self.round():
            pass

    def live_rounds(self, rounds: int) -> None:
        """Run rounds, and collect the log while the guest runs and at the end of each."""
        for _ in range(rounds):
            with self.round():
                self._under_way.wait(TIMEOUT_SECONDS)
                self.collect()
            self.collect()

    def collect_under(self, kind: str, op: str, *, times: int | None = None, **place: int) -> None:
        """Collect the log with a fault armed for a place in calls of an op; record its hits."""
        with self.vm.fault(kind, times=times, when={"op": op, **place}) as armed:
            self.collect()
        self.faults.append(FaultOutcome(kind, op, armed.hits))
        self.phases[-1].note(f"{kind} x{armed.hits}")
        self.report(self.phases[-1])

    def collect(self, *, cpu: int | None = None) -> DirtyLog:
        """Collect the whole log; with manual protect, also clear its pages in chunks.

        Returns:
            The last response.
        """
        phase, before = self.phases[-1], self.ledger.counts.reported
        logs = [self._get(cpu)]
        if self.is_manual:
            chunks = range(0, self.ledger.npages, CHUNK_PAGES)
            # All chunks are of what this get reported
            seen = self.ledger.seen.copy()
            logs = [self._clear(seen, first, cpu) for first in chunks]
        for log in logs:
            phase.hardware += log.cleaned_by_hardware
            phase.software += log.cleaned_by_software
            phase.requeued += log.requeued
        phase.reported += self.ledger.counts.reported - before
        return logs[-1]

    def _get(self, cpu: int | None) -> DirtyLog:
        with self._lock:
            self.ledger.collection_began()
        try:
            log = self.vm.slot(0).get_dirty_log(cpu=cpu)
        except ConflictError as refusal:
            # A get with manual protect is a copy: where the copy failed, nothing happened
            if not (self.is_manual and refusal.errno == "EFAULT"):
                raise
            with self._lock:
                self.ledger.collection_ended()
            self.phases[-1].note("get returned EFAULT, repeated")
            return self._get(cpu)
        with self._lock:
            self.ledger.reported(log.mask(), taken=not self.is_manual)
        return log

    def _clear(self, seen: PageMask, first_page: int, cpu: int | None) -> DirtyLog:
        chunk = slice(first_page, first_page + CHUNK_PAGES)
        bitmap = np.zeros_like(seen)
        bitmap[chunk] = seen[chunk]
        with self._lock:
            self.ledger.collection_began()
        log = self.vm.slot(0).clear_dirty_log(bitmap=seen[chunk], first_page=first_page, cpu=cpu)
        with self._lock:
            self.ledger.cleared(bitmap)
        return log

    def _run_vcpu(self, vcpu: int, programs: Sequence[Program], intervals: range) -> None:
        calls = min(CALLS_PER_ROUND, len(intervals))
        for part in np.array_split(intervals, calls):
            pages = written_in(programs, part.tolist())
            with self._lock:
                write = self.ledger.write_sent(pages)
            self.vm.guest_write(pages + self.base_gfn, vcpu=vcpu)
            with self._lock:
                self.ledger.write_done(write)
            self._under_way.set()
