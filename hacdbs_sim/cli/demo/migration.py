"""A live migration's source side, as a client of the service: guest rounds and collections.

The four vCPUs write from threads of their own, over HTTP, while the log is collected; the ledger
alone judges what comes back.
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
from hacdbs_sim.client import CleaningReport, ConflictError, Slot, Vm
from hacdbs_sim.client.connecting import TIMEOUT_SECONDS

CHUNK_PAGES: Final = 65_536
"""Pages of one clear: 256 MiB, a chunk such as VMMs use."""

CALLS_PER_ROUND: Final = 4
"""Calls that a vCPU's writes of one round are cut into, so that collections fall between them."""


@dataclass(slots=True, eq=False)
class Phase:
    """What happened in one part of the story; counts of pages."""

    name: str
    rounds: int
    rounds_done: int = 0
    written: int = 0
    reported: int = 0
    hardware: int = 0
    software: int = 0
    requeued: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Keep something worth showing, once."""
        if what not in self.notes:
            self.notes.append(what)


@dataclass(frozen=True, slots=True)
class FaultOutcome:
    """An armed fault and how often it hit."""

    type: str
    op: str
    hits: int


@dataclass(slots=True, eq=False)
class Migration:
    """A VM whose guest runs while its dirty log is collected.

    Attributes:
        tell: Called whenever there is something new to show.
    """

    vm: Vm
    guest: Guest
    ledger: Ledger
    base_gfn: int
    intervals_per_round: int
    rng: np.random.Generator
    tell: Callable[[Phase], None]
    is_manual: bool = False
    faults: list[FaultOutcome] = field(default_factory=list)
    _next_interval: int = 0
    _phase: Phase = field(default_factory=lambda: Phase("", 0))
    # The ledger hears from the vCPUs' threads and from the collector
    _lock: Lock = field(default_factory=Lock)
    # Set by the first write of a round that is answered
    _under_way: Event = field(default_factory=Event)
    _threads: ExitStack = field(default_factory=ExitStack)
    _vcpus: ThreadPoolExecutor = field(init=False)

    @property
    def slot(self) -> Slot:
        """Value of the VM's only memslot."""
        return self.vm.slot(0)

    def __enter__(self) -> Self:
        """Start the vCPUs' threads."""
        self._vcpus = self._threads.enter_context(ThreadPoolExecutor(len(self.guest.vcpus)))
        return self

    def __exit__(self, *_: object) -> None:
        """End the vCPUs' threads."""
        self._threads.close()

    @contextmanager
    def phase(self, name: str, rounds: int) -> Generator[Phase]:
        """A part of the story; rounds inside it are counted for it."""
        self._phase = Phase(name, rounds)
        self.tell(self._phase)
        yield self._phase
        self.tell(self._phase)

    def set_manual_protect(self, flags: int) -> None:
        """Switch how the log is collected."""
        self.vm.update(manual_dirty_log_protect2=flags)
        self.is_manual = bool(flags)

    @contextmanager
    def round(self) -> Generator[None]:
        """A round of the guest: its vCPUs write while the body runs, and rest at the end of it."""
        before = self.ledger.totals.written
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
        """A round in which nothing is collected: what is owed after it is known exactly."""
        with self.round():
            pass

    def live_round(self) -> None:
        """A round collected while the guest runs, and once more at its end."""
        with self.round():
            self._under_way.wait(TIMEOUT_SECONDS)
            self.collect()
        self.collect()

    def faulty_round(self, fault: Callable[[Pages], dict[str, Any]]) -> None:
        """A round collected under a fault, which `fault` makes from the pages that are owed."""
        self.guest_round()
        self.collect_under(fault(self.ledger.owed))

    def collect_under(self, fault: dict[str, Any]) -> None:
        """Collect with a fault armed, and note how often it hit."""
        with self.vm.fault(fault["type"], times=fault["times"], when=fault["when"]) as armed:
            self.collect()
        self.faults.append(FaultOutcome(fault["type"], fault["when"]["op"], armed.hits))
        self._phase.note(f"{fault['type']} x{armed.hits}")
        self.tell(self._phase)

    def collect(self, *, cpu: int | None = None) -> list[CleaningReport]:
        """Collect the whole log once; with manual protect, clear in chunks what was reported."""
        before = self.ledger.totals.reported
        cleanings = self._get_and_clear(cpu) if self.is_manual else [self._get(cpu)]
        for cleaning in cleanings:
            self._phase.hardware += cleaning.cleaned_by_hardware
            self._phase.software += cleaning.cleaned_by_software
            self._phase.requeued += cleaning.requeued
        self._phase.reported += self.ledger.totals.reported - before
        return cleanings

    def _get(self, cpu: int | None = None) -> CleaningReport:
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
            self._phase.note("get answered EFAULT, asked again")
            return self._get(cpu)
        with self._lock:
            self.ledger.reported(log.mask(), taken=not self.is_manual)
        return log.report

    def _get_and_clear(self, cpu: int | None) -> list[CleaningReport]:
        self._get(cpu)
        with self._lock:
            reported = self.ledger.seen
        return [
            self._clear(reported[first : first + CHUNK_PAGES], first, cpu)
            for first in range(0, self.ledger.npages, CHUNK_PAGES)
        ]

    def _clear(self, chunk: PageMask, first_page: int, cpu: int | None) -> CleaningReport:
        bitmap = np.zeros(self.ledger.npages, dtype=np.bool_)
        bitmap[first_page : first_page + len(chunk)] = chunk
        with self._lock:
            self.ledger.collection_began()
        cleaning = self.slot.clear_dirty_log(bitmap=chunk, first_page=first_page, cpu=cpu)
        with self._lock:
            self.ledger.cleared(bitmap)
        return cleaning

    def _run_vcpu(self, vcpu: int, intervals: range) -> None:
        calls = min(CALLS_PER_ROUND, len(intervals))
        for part in np.array_split(np.arange(intervals.start, intervals.stop), calls):
            pages = self.guest.written_in(vcpu, range(int(part[0]), int(part[-1]) + 1))
            with self._lock:
                write = self.ledger.write_sent(pages)
            self.vm.guest_write(pages + self.base_gfn, vcpu=vcpu)
            with self._lock:
                self.ledger.write_answered(write)
            self._under_way.set()

    def _finish_round(self, before: int) -> None:
        self._phase.rounds_done += 1
        self._phase.written += self.ledger.totals.written - before
        self.tell(self._phase)
