"""A live migration as a state machine, in virtual time.

    setup ─> active ─> [pre-switchover] ─> device ─┬─> completed
                                                   └─> postcopy-active ─┬─> completed
                                                         postcopy-paused ┘

While the guest runs, the VMM sends what its bitmap names. Before each chunk it looks: where less remains
than may remain at the switch-over, it takes the log; where still less remains then, it stops the guest,
takes the log once more and sends the rest. Each take of the log begins a pass. The order of a get, the
clears and the reads is that of docs/migrations.md.

Between any two steps a migration may be cancelled or changed; a refusal of the machine ends it as
`failed`.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from hacdbs_sim import model
from hacdbs_sim.model import (
    AppliedChange,
    Iteration,
    MemslotLife,
    MigrationCommand,
    MigrationSpec,
    MigrationStatus,
    Phase,
    Point,
    Reason,
    Refused,
    Scheduled,
    ScheduledChange,
    TimeoutStrategy,
    UpdateMigration,
)
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.model.words import Words
from hacdbs_sim.vmm.control import check_change
from hacdbs_sim.vmm.copy import NOTHING_PROVED
from hacdbs_sim.vmm.errors import (
    DestinationDiedError,
    GuestLostError,
    InvalidMigrationStateError,
    LayoutChangedError,
    LinkFailedError,
    refused_of,
)
from hacdbs_sim.vmm.history import Left, TransferHistory
from hacdbs_sim.vmm.link import Link
from hacdbs_sim.vmm.postcopy import Postcopy
from hacdbs_sim.vmm.report import Report
from hacdbs_sim.vmm.schedule import Schedule
from hacdbs_sim.vmm.source import Source
from hacdbs_sim.vmm.stream import Stream
from hacdbs_sim.vmm.syncs import Syncs
from hacdbs_sim.vmm.throttle import Throttle
from hacdbs_sim.vmm.tracking import DirtyTracking

Steps: TypeAlias = Generator[None, None, None]
By: TypeAlias = Literal["call", "schedule"]

_COMPLETED: Final = MigrationStatus.COMPLETED


class LiveMigration:
    """One migration of one machine.

    Nothing else may run the machine's guest meanwhile; other actions count as those of other threads of
    the VMM.

    Args:
        backend: The source.
        spec: How it is migrated.
        history: What earlier attempts took and did not deliver.
        tracking: What other readers of the machine's logs share with it; None: there are none.

    Attributes:
        spec: The same, with the slots named and changes applied.
        status: The phase, as QMP names it.

    Raises:
        InvalidMigrationError: the machine cannot run the spec.
    """

    def __init__(
        self,
        backend: model.Backend,
        spec: MigrationSpec,
        history: TransferHistory | None = None,
        *,
        tracking: DirtyTracking | None = None,
    ) -> None:
        self.status = MigrationStatus.SETUP
        self._backend = backend
        self._tracking = tracking or DirtyTracking(history)
        self._source = source = Source(backend, spec, self._tracking)
        self.spec = replace(spec, slots=tuple(slot.view.slot for slot in source.slots))
        self._started_ns = source.now_ns
        self._link = Link(spec.link, spec.bandwidth_bytes_per_second, self._started_ns)
        self._stream = Stream(source, self._link, spec)
        self._throttle = Throttle(spec.auto_converge)
        self._syncs = Syncs(source, self._stream, self._throttle)
        self._schedule = Schedule(spec.schedule)
        self._postcopy: Postcopy | None = None
        self._steps = self._live()
        self._requests: deque[ScheduledChange] = deque()
        self._asked_to_end: Reason | None = None
        self._reason: Reason | None = None
        self._refused: Refused | None = None
        self._has_begun = False
        self._is_continued = False
        self._wants_switch_over = False
        self._wants_postcopy = False
        self._is_resumed = False
        self._needs_command = False
        self._setup_ns = 0
        self._paused_ns: int | None = None
        self._downtime_ns = 0
        self._ended_ns = 0
        self._passes: list[Iteration] = []
        self._pass_is_open = False
        self._changes: list[AppliedChange] = []
        self._verification = NOTHING_PROVED

    @property
    def total_pages(self) -> int:
        """The pages of all slots that are migrated."""
        return self._source.total_pages

    @property
    def progress(self) -> tuple[MigrationStatus, int, int]:
        """The phase, how many passes have ended, and how often the log was taken."""
        return self.status, len(self._passes), self._stream.stats.syncs

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for a command, and none has come."""
        return self._needs_command and not self._requests and self._asked_to_end is None

    @property
    def now_ns(self) -> int:
        """The clock."""
        return self._ended_ns if self.status.is_final else self._source.now_ns

    def run(self) -> Report:
        """Run to the end.

        Raises:
            InvalidMigrationStateError: It waits for a command that nobody sends.
        """
        while self.step():
            if self.is_waiting:
                raise InvalidMigrationStateError(
                    f"the migration waits in {self.status.value}", field="status"
                )
        return self.report()

    def step(self) -> bool:
        """Do a bounded piece of work; return whether there is more to do."""
        if self.status.is_final:
            return False
        if self._asked_to_end is Reason.CANCEL and self.status.is_postcopy:
            self._asked_to_end = None  # the call came while it was not in post-copy yet
        if self.status is MigrationStatus.DEVICE and self._asked_to_end is None:
            self._apply_requests()
            self._perform_due()
            self._source.due_ns = self._due_ns()
        if self._asked_to_end is not None:
            self._steps.close()
            self._end_as_requested(self._asked_to_end)
            return False
        try:
            next(self._steps)
        except StopIteration:
            return False
        return True

    # Control

    def cancel(self, reason: Reason = Reason.CANCEL) -> None:
        """Request the end; the next step is the last. From any thread.

        A call's cancellation has no effect in post-copy: neither side has all of the guest.
        """
        if self._asked_to_end is None:
            self._asked_to_end = reason

    def request(self, change: ScheduledChange) -> None:
        """Change settings, or give a command, from the next chunk on. From any thread.

        Raises:
            InvalidMigrationStateError: It makes no sense in this phase.
            InvalidMigrationError: A setting makes no sense.
        """
        self.check_request(change)
        self._requests.append(change)

    def check_request(self, change: ScheduledChange) -> None:
        """Refuse what makes no sense in this phase.

        Raises:
            InvalidMigrationStateError: It does not.
            InvalidMigrationError: A setting makes no sense.
        """
        check_change(change, self.status, self.spec)

    def add_pending(self, slot: int, words: Words) -> bool:
        """Send pages that another reader of the log took; between two steps only.

        Returns:
            Whether it does: not once it has ended, nor in post-copy, where the guest that writes is the
            destination's.
        """
        if self.status.is_final or self._postcopy is not None:
            return False
        return self._source.add_pending(slot, words)

    def left(self, life: MemslotLife) -> Left | None:
        """Return what it would leave of a slot if it broke off now; between two steps only.

        Returns:
            None if it does not migrate the slot.
        """
        left = self._source.left(life)
        if left is not None and left.lacking is not None:
            for piece in self._stream.in_flight():
                if piece.slot.life.slot == life.slot:
                    end = piece.first_word + len(piece.words)
                    left.lacking[piece.first_word : end] |= piece.words
        return left

    def _apply_requests(self) -> None:
        while self._requests:
            self._apply(self._requests.popleft(), "call")

    def _apply(self, change: ScheduledChange, by: By) -> None:
        settings = UpdateMigration(**change.given)
        self._changes.append(
            AppliedChange(
                now_ns=self._source.now_ns,
                iteration=self._source.row.iteration,
                by=by,
                command=change.command,
                settings=settings,
            )
        )
        given = change.given
        throttle = given.pop("throttle_percent", None)
        postcopy_bandwidth = given.pop("postcopy_bandwidth_bytes_per_second", None)
        self.spec = replace(self.spec, **given)
        if postcopy_bandwidth is not None:
            assert self.spec.postcopy is not None, "the request was checked"
            postcopy = replace(self.spec.postcopy, bandwidth_bytes_per_second=postcopy_bandwidth)
            self.spec = replace(self.spec, postcopy=postcopy)
        stream = self._stream
        if stream.phase == "precopy":
            stream.bandwidth = self.spec.bandwidth_bytes_per_second
        stream.downtime_limit_ns = self.spec.downtime_limit_ns
        stream.switchover_bandwidth = self.spec.switchover_bandwidth_bytes_per_second
        self._throttle.converge = self.spec.auto_converge
        if throttle is not None:
            self._throttle.percent = throttle
        self._throttle_guest()
        match change.command:
            case MigrationCommand.SWITCH_OVER:
                self._wants_switch_over = True
            case MigrationCommand.START_POSTCOPY:
                self._wants_postcopy = True
            case MigrationCommand.CONTINUE:
                self._is_continued = True
            case MigrationCommand.PAUSE if self._postcopy is not None:
                self._postcopy.wants_pause = True
            case MigrationCommand.RESUME:
                self._is_resumed = True
            case MigrationCommand.CANCEL:
                self.cancel()
            case _:
                pass

    def _throttle_guest(self) -> None:
        self._source.throttle_percent = self._throttle.percent
        self._source.row.throttle_percent = self._throttle.percent

    # The schedule

    def _perform(self, items: Iterator[tuple[int, Scheduled]]) -> None:
        for index, item in items:
            now_ns, problem = self._source.now_ns, None
            try:
                if item.action is not None:
                    self._source.perform(item.action)
                else:
                    assert item.set is not None, "an item has an action or a set"
                    self.check_request(item.set)
                    self._apply(item.set, "schedule")
            except KvmError as refusal:
                problem = refused_of(refusal)
            self._schedule.record(index, self._source.row.iteration, now_ns, problem)

    def _point(self, phase: Phase, point: Point) -> None:
        self._perform(self._schedule.of_phase(phase, point))

    def _perform_due(self) -> None:
        self._perform(self._schedule.due(self._source.now_ns - self._started_ns))

    # The life of a migration

    def _live(self) -> Steps:
        self._begin_row(0)
        yield
        try:
            yield from self._set_up()
            yield from self._iterate()
            if self._wants_postcopy:
                yield from self._run_postcopy()
            else:
                yield from self._switch_over()
        except LayoutChangedError as refused:
            self._fail(Reason.MEMORY_LAYOUT_CHANGED, refused)
        except LinkFailedError as refused:
            for piece in self._stream.lose_in_flight():
                self._source.put_back(piece)
            self._fail(Reason.LINK_FAILED, refused)
        except DestinationDiedError as refused:
            self._fail(Reason.DESTINATION_DIED, refused)
        except KvmError as refused:
            self._fail(Reason.REFUSED, refused)
        else:
            self._end(_COMPLETED, Reason.CONVERGED if self._reason is None else self._reason)

    def _fail(self, reason: Reason, refused: KvmError) -> None:
        self._refused = refused_of(refused)
        self._end(MigrationStatus.FAILED, reason)

    def _set_up(self) -> Steps:
        self._source.fix_base()
        self._has_begun = True
        self._point(Phase.SETUP, Point.BEGIN)
        self._source.begin()
        self._tracking.sender = self
        yield from self._source.pay()
        self._setup_ns = self._source.now_ns - self._started_ns
        self._point(Phase.SETUP, Point.END)
        self.status = MigrationStatus.ACTIVE
        self._begin_row(0)
        self._point(Phase.ACTIVE, Point.BEGIN)
        self._sync(0)
        yield

    def _iterate(self) -> Steps:
        """Send passes while the guest runs, until the rest is small enough, or no more is allowed."""
        while True:
            self._apply_requests()
            self._perform_due()
            self._link.rate(self._source.now_ns)  # events that are due happen
            if self._wants_postcopy:
                self._reason = Reason.POSTCOPY
                return
            if self._wants_switch_over:
                self._reason = Reason.REQUESTED
                return
            if self._may_switch_over():
                yield from self._next_pass()
                if self._may_switch_over():
                    self._reason = Reason.CONVERGED
                    return
                if self._is_over_limits():
                    yield from self._give_up(Reason.MAX_ITERATIONS)
                    return
                continue
            if (reason := self._lateness()) is not None:
                yield from self._give_up(reason)
                return
            if self._syncs.is_periodic_due(self.spec):
                yield from self._next_pass()
                self._syncs.see_tick()
                if self._is_over_limits() and not self._may_switch_over():
                    yield from self._give_up(Reason.MAX_ITERATIONS)
                    return
            floor_pages = -(-self._stream.threshold_bytes // self._source.page_size)
            yield from self._stream.chunk(self._deadline_ns(), floor_pages)
            yield

    def _may_switch_over(self) -> bool:
        """Look at what remains, as before each chunk."""
        remaining = self._source.pending_pages
        return not remaining or remaining * self._source.page_size < self._stream.threshold_bytes

    def _next_pass(self) -> Steps:
        """Take the log; what it names is sent in the next pass."""
        yield from self._source.pay()
        self._end_pass()
        number = len(self._passes)
        self._begin_row(number)
        self._throttle.begin_pass(number)
        self._sync(number)
        after = self.spec.postcopy.after_iterations if self.spec.postcopy else None
        if after is not None and number >= after:
            self._wants_postcopy = True
        yield

    def _is_over_limits(self) -> bool:
        return len(self._passes) >= self.spec.max_iterations

    def _switch_over(self) -> Steps:
        """Pause the guest, and send the rest."""
        source = self._source
        yield from self._stop()
        yield from self._enter_device()
        yield from self._stream.send_all()
        yield from self._send_device_state()
        self._point(Phase.DEVICE, Point.END)
        yield from source.spend(self._link.latency_ns)
        source.check_layout()
        self._end_pass()

    def _stop(self) -> Steps:
        """Stop the guest; the downtime begins."""
        source = self._source
        yield from source.pay()
        self._point(Phase.ACTIVE, Point.END)
        self._end_pass()
        source.is_paused = True
        self._paused_ns = source.now_ns
        self._stream.phase = "downtime"
        self._begin_row(len(self._passes))
        source.row.phase = "device"
        yield from source.spend(self.spec.stop_latency_ns)

    def _enter_device(self) -> Steps:
        """Wait before the switch-over where that is wanted; take the log for the last time."""
        if self.spec.pause_before_switchover:
            self.status = MigrationStatus.PRE_SWITCHOVER
            self._point(Phase.PRE_SWITCHOVER, Point.BEGIN)
            yield from self._wait(lambda: self._is_continued)
            self._point(Phase.PRE_SWITCHOVER, Point.END)
        self.status = MigrationStatus.DEVICE
        self._point(Phase.DEVICE, Point.BEGIN)
        yield
        self._sync(len(self._passes))
        self._point(Phase.DEVICE, Point.AFTER_LAST_GET)
        yield from self._source.pay()

    def _send_device_state(self) -> Steps:
        yield from self._stream.send_octets(self.spec.device_state_bytes)
        yield from self._source.spend(self.spec.device_state_ns)

    def _run_postcopy(self) -> Steps:
        """Let the guest run at the destination, and send it what it lacks."""
        source, stream = self._source, self._stream
        yield from source.pay()
        paused_ns = source.now_ns
        yield from self._stop()
        yield from self._enter_device()
        yield from self._send_device_state()
        self._point(Phase.DEVICE, Point.END)
        yield from source.spend(self._link.latency_ns)
        source.check_layout()
        postcopy = Postcopy(self._backend, source, stream, self._link, paused_ns)
        postcopy.discard()
        self._postcopy = postcopy
        self._end_pass()
        self._downtime_ns = source.now_ns - paused_ns
        self._paused_ns = None
        self.status = MigrationStatus.POSTCOPY_ACTIVE
        source.is_paused = False
        self._throttle.converge, self._throttle.percent = None, 0
        source.throttle_percent = 0
        stream.phase = "postcopy"
        self._begin_row(len(self._passes))
        source.row.phase = "postcopy"
        self._point(Phase.POSTCOPY_ACTIVE, Point.BEGIN)
        yield
        while not postcopy.is_over:
            self._apply_requests()
            self._perform_due()
            try:
                yield from postcopy.chunk(self.spec.postcopy, self._deadline_ns())
            except LinkFailedError:
                yield from self._recover(postcopy)
            yield
        yield from source.pay()
        self._point(Phase.POSTCOPY_ACTIVE, Point.END)
        self._end_pass()

    def _recover(self, postcopy: Postcopy) -> Steps:
        """Wait with a broken link until somebody resumes; pages in flight are asked for again."""
        self.status = MigrationStatus.POSTCOPY_PAUSED
        postcopy.break_off()
        self._is_resumed = False
        self._point(Phase.POSTCOPY_PAUSED, Point.BEGIN)
        recovers_ns = self._link.recovers_ns
        self._link.recovers_ns = None
        while not self._is_resumed:
            if recovers_ns is not None and self._source.now_ns >= recovers_ns:
                break
            yield from postcopy.wait(recovers_ns, self._deadline_ns())
            self._apply_requests()
            self._perform_due()
            may_go_on = recovers_ns is not None or self._schedule.next_ns() is not None
            self._needs_command = not (may_go_on or self._is_resumed)
            yield
        self._needs_command = False
        self.status = MigrationStatus.POSTCOPY_RECOVER
        postcopy.resume()
        yield from self._source.spend(2 * self._link.latency_ns)
        self.status = MigrationStatus.POSTCOPY_ACTIVE
        yield

    def _wait(self, is_done: Callable[[], bool]) -> Steps:
        """Wait for a command with the guest paused; virtual time passes only to what is scheduled."""
        yield
        while True:
            self._apply_requests()
            if is_done():
                break
            due_ns = self._due_ns()
            self._needs_command = due_ns is None
            if due_ns is not None:
                yield from self._source.spend(due_ns - self._source.now_ns)
                self._perform_due()
            yield
        self._needs_command = False

    def _give_up(self, reason: Reason) -> Steps:
        """Apply the strategy; return only where it is to switch over."""
        self._reason = reason
        if self.spec.timeout_strategy is TimeoutStrategy.CANCEL:
            self.cancel(reason)
            yield
        self._wants_postcopy = self.spec.timeout_strategy is TimeoutStrategy.POSTCOPY

    def _end_as_requested(self, reason: Reason) -> None:
        if self.status.is_postcopy:
            self._refused = refused_of(
                GuestLostError(
                    "the migration ended in post-copy, where neither side has all of the guest"
                )
            )
            self._end(MigrationStatus.FAILED, reason)
        elif reason is Reason.DESTINATION_DIED:
            self._fail(reason, DestinationDiedError("the VM of the destination was deleted"))
        else:
            self._end(MigrationStatus.CANCELLED, reason)

    def _end(self, status: MigrationStatus, reason: Reason) -> None:
        source = self._source
        if self._pass_is_open and (self._has_begun or self._passes):
            self._end_pass()
        if self._paused_ns is not None:
            self._downtime_ns = source.now_ns - self._paused_ns
        if status is MigrationStatus.FAILED and self._postcopy is not None:
            self._postcopy.guest_lost = True
        self._ended_ns = source.now_ns
        is_complete = status is _COMPLETED
        if self._postcopy is None:
            source.note_layout()
        if self._has_begun and self.spec.verify:
            if self._postcopy is not None:
                self._verification = self._postcopy.verify(is_complete=is_complete)
            else:
                self._verification = source.verify(is_complete=is_complete)
        if self._has_begun:
            self._tracking.sender = None
            source.end(is_complete=is_complete, is_received=reason is not Reason.DESTINATION_DIED)
        else:
            source.end_before_begin()
        self._reason = reason
        self.status = status

    # A pass

    def _begin_row(self, number: int) -> None:
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

    def _sync(self, number: int) -> None:
        """Take the log of all slots, after what is scheduled for the pass."""
        self._perform(self._schedule.of_iteration(number))
        self._link.begin_pass(number, self._source.now_ns)
        self._syncs.take(number)
        self._throttle_guest()

    # Limits

    def _lateness(self) -> Reason | None:
        """Return why the time is up; None: it is not."""
        now_ns = self._source.now_ns
        timeout_ns, stalls_ns = self.spec.timeout_ns, self._syncs.stalls_ns(self.spec)
        if timeout_ns is not None and now_ns - self._started_ns >= timeout_ns:
            return Reason.TIMEOUT
        return Reason.STALLED if stalls_ns is not None and now_ns >= stalls_ns else None

    def _deadline_ns(self) -> int | None:
        """Return when the next thing can happen that a chunk may not run past."""
        started_ns, spec = self._started_ns, self.spec
        ends = [self._due_ns()]
        if self.status is MigrationStatus.ACTIVE:
            ends.append(None if spec.timeout_ns is None else started_ns + spec.timeout_ns)
            ends += [self._syncs.stalls_ns(spec), self._syncs.next_tick_ns(spec)]
        now_ns = self._source.now_ns
        return min((end for end in ends if end is not None and end > now_ns), default=None)

    def _due_ns(self) -> int | None:
        """Return when the next item of the schedule with a time is due; None: there is none."""
        next_ns = self._schedule.next_ns()
        return None if next_ns is None else self._started_ns + next_ns

    # The report

    def report(self) -> Report:
        """Report the state; between two steps only."""
        source, stats = self._source, self._stream.stats
        now_ns = self.now_ns
        downtime_ns = self._downtime_ns
        if self._paused_ns is not None and not self.status.is_final:
            downtime_ns = now_ns - self._paused_ns
        return Report(
            status=self.status,
            reason=self._reason,
            refused=self._refused,
            spec=self.spec,
            started_ns=self._started_ns,
            now_ns=now_ns,
            setup_ns=self._setup_ns,
            downtime_ns=downtime_ns,
            throttle_percent=source.throttle_percent,
            page_size=source.page_size,
            total_pages=source.total_pages,
            remaining_pages=source.pending_pages,
            stats=replace(stats),
            iterations=tuple(self._passes),
            scheduled=self._schedule.outcomes(is_over=self.status.is_final),
            changes=tuple(self._changes),
            changed_slots=tuple(source.changed_slots),
            postcopy=None if self._postcopy is None else self._postcopy.report(),
            verification=self._verification,
        )
