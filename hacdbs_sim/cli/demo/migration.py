"""The source side of a live migration, as a client of the service: guest rounds and collections.

Each vCPU writes from a thread of its own, over HTTP, while the log is collected; the ledger checks
the results.
"""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Any, Final, Self

import numpy as np

from hacdbs_sim.cli.demo.ledger import Ledger, PageMask, Pages
from hacdbs_sim.cli.demo.traces import Guest
from hacdbs_sim.client import ConflictError, Slot, Vm
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
    """A VM whose guest runs while its dirty log is collected.

    Attributes:
        report: Called with the current phase whenever it has changed.
    """

    vm: Vm
    guest: Guest
    ledger: Ledger
    base_gfn: int
    intervals_per_round: int
    rng: np.random.Generator
    report: Callable[[Phase], None]
    is_manual: bool = False
    faults: list[FaultOutcome] = field(default_factory=list)
    _next_interval: int = 0
    _phase: Phase = field(default_factory=lambda: Phase("", 0))
    # Guards the ledger: the threads of the vCPUs use it, and the collector
    _lock: Lock = field(default_factory=Lock)
    # Set by the first response to a write of a round
    _under_way: Event = field(default_factory=Event)
    _threads: ExitStack = field(default_factory=ExitStack)
    _vcpus: ThreadPoolExecutor = field(init=False)

    @property
    def slot(self) -> Slot:
        """The VM's only memslot."""
        return self.vm.slot(0)

    def __enter__(self) -> Self:
        """Start the vCPUs' threads."""
        self._vcpus = self._threads.enter_context(ThreadPoolExecutor(len(self.guest.vcpus)))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the vCPUs' threads."""
        self._threads.close()

    @contextmanager
    def phase(self, name: str, rounds: int) -> Generator[Phase]:
        """Begin a phase; its rounds and collections are counted for it."""
        self._phase = Phase(name, rounds)
        self.report(self._phase)
        yield self._phase
        self.report(self._phase)

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
            self._vcpus.submit(self._run_vcpu, vcpu, intervals)
            for vcpu in range(len(self.guest.vcpus))
        ]
        try:
            yield
        finally:
            for vcpu in running:
                vcpu.result()
        self._finish_round(before)

    def guest_round(self) -> None:
        """Run a round without a collection: which pages are owed after it is known exactly."""
        with self.round():
            pass

    def live_round(self) -> None:
        """Run a round and collect the log, while the guest runs and at the end."""
        with self.round():
            self._under_way.wait(TIMEOUT_SECONDS)
            self.collect()
        self.collect()

    def faulty_round(self, fault: Callable[[Pages], dict[str, Any]]) -> None:
        """Run a round, and collect the log under a fault, made from the pages that are owed."""
        self.guest_round()
        self.collect_under(fault(self.ledger.owed))

    def collect_under(self, fault: dict[str, Any]) -> None:
        """Collect the log with a fault armed, and record its hits."""
        with self.vm.fault(fault["type"], times=fault["times"], when=fault["when"]) as armed:
            self.collect()
        self.faults.append(FaultOutcome(fault["type"], fault["when"]["op"], armed.hits))
        self._phase.note(f"{fault['type']} x{armed.hits}")
        self.report(self._phase)

    def collect(self, *, cpu: int | None = None) -> list[DirtyLog]:
        """Collect the whole log; with manual protect, also clear its pages in chunks."""
        before = self.ledger.counts.reported
        logs = self._get_and_clear(cpu) if self.is_manual else [self._get(cpu)]
        for log in logs:
            self._phase.hardware += log.cleaned_by_hardware
            self._phase.software += log.cleaned_by_software
            self._phase.requeued += log.requeued
        self._phase.reported += self.ledger.counts.reported - before
        return logs

    def _get(self, cpu: int | None = None) -> DirtyLog:
        with self._lock:
            self.ledger.collection_began()
        try:
            log = self.slot.get_dirty_log(cpu=cpu)
        except ConflictError as refusal:
            # A get with manual protect is a copy: where the copy failed, nothing happened
            if not (self.is_manual and refusal.errno == "EFAULT"):
                raise
            with self._lock:
                self.ledger.collection_refused()
            self._phase.note("get returned EFAULT, repeated")
            return self._get(cpu)
        with self._lock:
            self.ledger.reported(log.mask(), taken=not self.is_manual)
        return log

    def _get_and_clear(self, cpu: int | None) -> list[DirtyLog]:
        self._get(cpu)
        with self._lock:
            reported = self.ledger.seen
        return [
            self._clear(reported[first : first + CHUNK_PAGES], first, cpu)
            for first in range(0, self.ledger.npages, CHUNK_PAGES)
        ]

    def _clear(self, chunk: PageMask, first_page: int, cpu: int | None) -> DirtyLog:
        bitmap = np.zeros(self.ledger.npages, dtype=np.bool_)
        bitmap[first_page : first_page + len(chunk)] = chunk
        with self._lock:
            self.ledger.collection_began()
        log = self.slot.clear_dirty_log(bitmap=chunk, first_page=first_page, cpu=cpu)
        with self._lock:
            self.ledger.cleared(bitmap)
        return log

    def _run_vcpu(self, vcpu: int, intervals: range) -> None:
        calls = min(CALLS_PER_ROUND, len(intervals))
        for part in np.array_split(np.arange(intervals.start, intervals.stop), calls):
            pages = self.guest.written_in(vcpu, range(int(part[0]), int(part[-1]) + 1))
            with self._lock:
                write = self.ledger.write_sent(pages)
            self.vm.guest_write(pages + self.base_gfn, vcpu=vcpu)
            with self._lock:
                self.ledger.write_done(write)
            self._under_way.set()

    def _finish_round(self, before: int) -> None:
        self._phase.rounds_done += 1
        self._phase.written += self.ledger.counts.written - before
        self.report(self._phase)
