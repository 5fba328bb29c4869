"""A pre-copy migration as a state machine, in virtual time.

    setup ──> active ──> pre-switchover ──> device ──> completed
                │  a pass a time

Each pass takes the log of every slot, and then sends what is dirty chunk by chunk: clear, read, send
(`before_copy`). A page that is written after its clear is in the log again, so the next pass finds
it. The other order reads before it clears: what is written in between is in neither. Once the rest is
small enough the guest is paused, and the last pass sends what its log still has.

Between any two steps a migration may be cancelled; a refusal of the machine ends it as `failed`.
"""

from collections.abc import Generator
from dataclasses import replace
from typing import Final, TypeAlias

from hacdbs_sim import model
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.migrations import (
    NS_PER_SECOND,
    ClearOrder,
    Iteration,
    MigrationSpec,
    MigrationStatus,
    Reason,
    Refused,
    ScheduledOutcome,
    TimeoutStrategy,
    Verification,
)
from hacdbs_sim.vmm.report import Report
from hacdbs_sim.vmm.source import Chunk, Source
from hacdbs_sim.vmm.throttle import Throttle

Steps: TypeAlias = Generator[None, None, None]

_NOTHING_PROVED: Final = Verification(enabled=False, verified=False, lost_pages=0, slots=())


class Precopy:
    """One migration of one machine.

    Nothing else may run the machine's guest meanwhile; other actions count as those of other threads of
    the VMM.

    Args:
        backend: The source.
        spec: How it is migrated.

    Attributes:
        spec: The same, with the slots named.
        status: The phase, as QMP names it.

    Raises:
        InvalidMigrationError: the machine cannot run the spec.
    """

    def __init__(self, backend: model.Backend, spec: MigrationSpec) -> None:
        self.status = MigrationStatus.NONE
        self._source = Source(backend, spec)
        self.spec = replace(spec, slots=tuple(slot.view.slot for slot in self._source.slots))
        self._throttle = Throttle(spec.auto_converge)
        self._steps = self._live()
        self._asked_to_end: Reason | None = None
        self._reason: Reason | None = None
        self._refused: Refused | None = None
        self._started_ns = self._synced_ns = self._source.now_ns
        self._setup_ns = 0
        self._paused_ns: int | None = None
        self._downtime_ns = 0
        self._expected_downtime_ns = spec.downtime_limit_ns
        self._syncs = 0
        self._ended_ns = 0
        self._passes: list[Iteration] = []
        self._pass_is_open = False
        self._scheduled: list[ScheduledOutcome] = []
        self._verification = _NOTHING_PROVED

    @property
    def total_pages(self) -> int:
        """The pages of all slots that are migrated."""
        return self._source.total_pages

    @property
    def progress(self) -> tuple[MigrationStatus, int]:
        """The phase, and of how many passes have ended."""
        return self.status, len(self._passes)

    def run(self) -> Report:
        """Run to the end."""
        while self.step():
            pass
        return self.report()

    def step(self) -> bool:
        """Do a bounded piece of work; return whether there is more to do."""
        if self.status.is_final:
            return False
        if self._asked_to_end is not None:
            self._steps.close()
            self._end(MigrationStatus.CANCELLED, self._asked_to_end)
            return False
        try:
            next(self._steps)
        except StopIteration:
            return False
        return True

    def cancel(self, reason: Reason = Reason.CANCEL) -> None:
        """Request the end; the next step is the last. From any thread, and in any phase."""
        if self._asked_to_end is None:
            self._asked_to_end = reason

    def report(self) -> Report:
        """Report the state; between two steps only."""
        source = self._source
        now_ns = self._ended_ns if self.status.is_final else source.now_ns
        downtime_ns = self._downtime_ns
        if self._paused_ns is not None and not self.status.is_final:
            downtime_ns = now_ns - self._paused_ns
        return Report(
            status=self.status,
            reason=self._reason,
            refused=self._refused,
            started_ns=self._started_ns,
            now_ns=now_ns,
            setup_ns=self._setup_ns,
            downtime_ns=downtime_ns,
            expected_downtime_ns=self._expected_downtime_ns,
            throttle_percent=source.throttle_percent,
            page_size=source.page_size,
            total_pages=source.total_pages,
            remaining_pages=source.pending_pages,
            sent_pages=source.sent_pages,
            syncs=self._syncs,
            iterations=tuple(self._passes),
            scheduled=tuple(self._scheduled),
            verification=self._verification,
        )

    # The life of a migration

    def _live(self) -> Steps:
        self.status = MigrationStatus.SETUP
        yield
        try:
            yield from self._set_up()
            yield from self._iterate()
            yield from self._switch_over()
        except KvmError as refused:
            self._refused = _refused_of(refused)
            self._end(MigrationStatus.FAILED, Reason.REFUSED)
        else:
            self._end(MigrationStatus.COMPLETED, self._reason or Reason.CONVERGED)

    def _set_up(self) -> Steps:
        self._source.begin()
        yield from self._source.pass_time()
        self._setup_ns = self._source.now_ns - self._started_ns
        self.status = MigrationStatus.ACTIVE
        yield

    def _iterate(self) -> Steps:
        """Send passes while the guest runs, until the rest is small enough, or no more is allowed."""
        number = 0
        while True:
            self._begin_pass(number)
            self._perform_scheduled(number)
            self._sync()
            yield
            self._expect()
            if number and self._expected_downtime_ns <= self.spec.downtime_limit_ns:
                return
            if number >= self.spec.max_iterations:
                yield from self._give_up(Reason.MAX_ITERATIONS)
                return
            self._throttle_guest()
            for chunk in self._source.chunks():
                if self._is_late():
                    yield from self._give_up(Reason.TIMEOUT)
                    return
                yield from self._send(chunk)
            yield from self._source.pass_time()
            self._end_pass()
            yield
            number += 1

    def _switch_over(self) -> Steps:
        """Pause the guest, and send the rest."""
        source = self._source
        yield from source.pass_time()
        source.is_paused = True
        self._paused_ns = source.now_ns
        self.status = MigrationStatus.PRE_SWITCHOVER
        yield
        self.status = MigrationStatus.DEVICE
        source.row.phase = "device"
        yield
        self._sync()
        for chunk in source.chunks():
            yield from self._send(chunk)
            yield
        yield from source.pass_time()
        self._end_pass()

    def _give_up(self, reason: Reason) -> Steps:
        """Apply the strategy; return only where it is to switch over."""
        self._reason = reason
        if self.spec.timeout_strategy is TimeoutStrategy.CANCEL:
            self.cancel(reason)
            yield

    def _end(self, status: MigrationStatus, reason: Reason) -> None:
        source = self._source
        if self._pass_is_open:
            self._end_pass()
        if self._paused_ns is not None:
            self._downtime_ns = source.now_ns - self._paused_ns
        self._ended_ns = source.now_ns
        if self.status is not MigrationStatus.SETUP:
            is_complete = status is MigrationStatus.COMPLETED
            self._verification = source.verify(is_complete=is_complete)
        source.end()
        self._reason = reason
        self.status = status

    # A pass

    def _begin_pass(self, number: int) -> None:
        self._source.row = Iteration(
            iteration=number,
            started_ns=self._source.now_ns,
            throttle_percent=self._source.throttle_percent,
        )
        self._pass_is_open = True

    def _end_pass(self) -> None:
        row = self._source.row
        row.duration_ns = self._source.now_ns - row.started_ns
        row.remaining_pages = self._source.remaining_pages()
        self._passes.append(row)
        self._pass_is_open = False

    def _sync(self) -> None:
        source, found_before = self._source, self._source.row.dirty_pages
        source.sync()
        self._syncs += 1
        period_ns = source.now_ns - self._synced_ns
        self._synced_ns = source.now_ns
        if self._passes and period_ns and not source.is_paused:
            found = source.row.dirty_pages - found_before
            source.row.dirty_pages_per_second = found * NS_PER_SECOND // period_ns

    def _expect(self) -> None:
        rest_bytes = self._source.pending_pages * self._source.page_size
        bandwidth = self.spec.bandwidth_bytes_per_second
        self._expected_downtime_ns = rest_bytes * NS_PER_SECOND // bandwidth

    def _throttle_guest(self) -> None:
        source = self._source
        if self._passes:
            source.throttle_percent = self._throttle.update(
                dirty_bytes=source.row.dirty_pages * source.page_size,
                sent_bytes=self._passes[-1].sent_bytes,
            )
        source.row.throttle_percent = source.throttle_percent

    def _send(self, chunk: Chunk) -> Steps:
        source = self._source
        clears_late = self.spec.clear_order is ClearOrder.AFTER_COPY
        if source.is_manual and not clears_late:
            source.clear(chunk)
        source.read(chunk)
        yield from source.send(chunk)
        if source.is_manual and clears_late:
            source.clear(chunk)
        source.sent(chunk)

    def _is_late(self) -> bool:
        timeout_ns = self.spec.timeout_ns
        return timeout_ns is not None and self._source.now_ns - self._started_ns >= timeout_ns

    def _perform_scheduled(self, number: int) -> None:
        for scheduled in self.spec.schedule:
            if scheduled.iteration != number:
                continue
            now_ns, refused = self._source.now_ns, None
            try:
                self._source.perform(scheduled.action)
            except KvmError as refusal:
                refused = _refused_of(refusal)
            self._scheduled.append(
                ScheduledOutcome(
                    iteration=number, op=scheduled.action.op, now_ns=now_ns, problem=refused
                )
            )


def _refused_of(refusal: KvmError) -> Refused:
    errno = None if refusal.errno is None else refusal.errno.value
    return Refused(code=refusal.code, errno=errno, detail=refusal.detail)
