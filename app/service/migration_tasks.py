"""Migrations that run in the background while the service handles other requests.

A run advances in a worker thread, one piece at a time, and holds its machine's lock for one piece only, so
other calls on the machine are served in between. The reported state of a run is that of its last piece.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from hacdbs_sim.model import MigrationStatus, Reason, Refused, ScheduledChange
from hacdbs_sim.model.units import PAGES_PER_WORD
from hacdbs_sim.sim.guest.versions import BYTES_A_PAGE
from hacdbs_sim.vmm import LiveMigration, Report, check_running

from .budget import Account
from .errors import StateBytesLimitError
from .vm_runtime import INLINE_WORK, VmRuntime

PIECE_SECONDS: Final = 0.05
"""About how long a run holds its machine's lock at a time."""

REPORT_BYTES: Final = 8 << 10
PASS_BYTES: Final = 2 << 10
"""What a report takes as objects, and each pass of it (measured, from above)."""

OnEnd: TypeAlias = Callable[[Report], Awaitable[Report]]
"""Called with the final report before anybody sees it; returns the one to be seen."""

DEFECT: Final = Refused(
    code="internal_error", errno=None, detail="a defect of the service ended the migration"
)


def bytes_of(migration: LiveMigration) -> int:
    """Return the bytes a migration holds beside its machine: its bitmaps, and what arrived."""
    npages, spec = migration.total_pages, migration.spec
    bitmaps = 2 if spec.postcopy is None else 3
    versions = spec.verify * (1 if spec.postcopy is None else 2)
    return npages // PAGES_PER_WORD * 8 * bitmaps + npages * BYTES_A_PAGE * versions


def bytes_of_report(passes: int) -> int:
    """Return the bytes that a report takes, from above."""
    return REPORT_BYTES + PASS_BYTES * passes


class MigrationTask:
    """One migration of a run.

    Attributes:
        name: Its name within the run.
        report: Its report after the last piece.
        keeps_report: Whether the report takes its bytes once the migration has ended.
    """

    def __init__(
        self,
        name: str,
        runtime: VmRuntime,
        migration: LiveMigration,
        account: Account,
        *,
        is_paced: bool = False,
    ) -> None:
        self.name = name
        self._is_paced = is_paced
        self._runtime: VmRuntime | None = runtime
        self._migration: LiveMigration | None = migration
        self._account = account
        self._cancelled_for: Reason | None = None
        self.keeps_report = False
        self.report = migration.report()

    @property
    def is_over(self) -> bool:
        """Return whether the migration has ended."""
        return self.report.status.is_final

    def seen(self) -> Report:
        """Return the current report; a cancelled migration is `cancelling` until it has ended.

        A call that cancels it may come too late: post-copy has begun meanwhile, and continues.
        """
        is_too_late = self._cancelled_for is Reason.CANCEL and self.report.status.is_postcopy
        if self._cancelled_for is None or is_too_late or self.is_over:
            return self.report
        return replace(self.report, status=MigrationStatus.CANCELLING, reason=self._cancelled_for)

    @property
    def is_waiting(self) -> bool:
        """Return whether it waits for a command."""
        return self._migration is not None and self._migration.is_waiting

    def request(self, change: ScheduledChange) -> None:
        """Change settings or give a command, from the next chunk on.

        Raises:
            InvalidMigrationStateError: It has ended, or cannot do that in its phase.
        """
        if self._migration is None:
            check_running(self.report.status)
        else:
            self._migration.request(change)

    def cancel(self, reason: Reason) -> None:
        """Request the end; do nothing if it has ended or its end was requested before."""
        if self._migration is not None and self._cancelled_for is None:
            self._cancelled_for = reason
            self._migration.cancel(reason)

    async def advance(self, on_end: OnEnd | None = None) -> bool:
        """Run one piece; return whether it has made progress: another phase, one more pass or sync."""
        assert self._runtime is not None, "a migration that has ended does not continue"
        assert self._migration is not None, "a migration that has ended does not continue"
        before = self._migration.progress
        report = await self._runtime.run(self._run_piece, work=lambda: INLINE_WORK + 1)
        if report.status.is_final and on_end is not None:
            report = await on_end(report)
        self.report = report
        return self._migration.progress != before

    def _run_piece(self) -> Report:
        migration = self._migration
        assert migration is not None, "a migration that has ended does not continue"
        before, ends_at = migration.progress, time.monotonic() + PIECE_SECONDS
        while (
            self._step(migration)
            and migration.progress == before
            and not migration.is_waiting
            and time.monotonic() < ends_at
            and not self._is_paced
        ):
            pass
        return migration.report()

    def _step(self, migration: LiveMigration) -> bool:
        """Do a step; end a measurement of the dirty rate that is due after it."""
        goes_on = migration.step()
        if self._runtime is not None:
            self._runtime.dirty_rate.end_if_due(self._runtime)
        return goes_on

    def close(self, *, owns_machine: bool) -> None:
        """Release the machine, and close it if the run owns it."""
        if owns_machine and self._runtime is not None:
            self._runtime.close()
        self._runtime = self._migration = None
        with suppress(StateBytesLimitError):  # `max_iterations` may have been raised meanwhile
            self._account.hold(bytes_of_report(len(self.report.iterations)))
        if not self.keeps_report:
            self._account.close()

    def release_report(self) -> None:
        """Return the bytes of the report, which will not be kept, once the migration has ended."""
        self.keeps_report = False
        if self._migration is None:
            self._account.close()

    def end_as(self, status: MigrationStatus, reason: Reason, refused: Refused | None) -> None:
        """Set the final status of a migration that could not end by itself."""
        if not self.is_over:
            self.report = replace(self.report, status=status, reason=reason, refused=refused)


@dataclass(slots=True, eq=False)
class _News:
    """Wakes the callers that wait for a run to make progress."""

    event: asyncio.Event

    def spread(self) -> None:
        self.event.set()
        self.event = asyncio.Event()


class MigrationRun:
    """Migrations that run one after the other.

    Args:
        tasks: The migrations.
        pace_seconds: Real seconds to wait each time one has made progress.
        pace: Real seconds that a virtual second takes; 0: as fast as possible.
        owns_machines: Whether the run closes the machines when it ends.
        on_progress: Called each time a migration has made progress.
        on_end: Called when one has ended, before anybody sees it.
    """

    def __init__(
        self,
        tasks: Sequence[MigrationTask],
        *,
        pace_seconds: float,
        owns_machines: bool,
        pace: float = 0.0,
        on_end: OnEnd | None = None,
        on_progress: Callable[[Report], None] | None = None,
    ) -> None:
        self.tasks = tuple(tasks)
        for task in self.tasks:
            task.keeps_report = True
        self._pace_seconds = pace_seconds
        self._owns_machines = owns_machines
        self._pace = pace
        self._on_progress = on_progress
        self._on_end = on_end
        self._news = _News(asyncio.Event())
        self._command = asyncio.Event()
        self._has_ended_waits = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Return whether all migrations have ended."""
        return all(task.is_over for task in self.tasks)

    def start(self) -> None:
        """Start the run; call on the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run_all())

    def cancel(self, reason: Reason = Reason.CANCEL) -> None:
        """Request the end of all migrations that have not ended; call on the event loop."""
        for task in self.tasks:
            task.cancel(reason)
        self._command.set()
        self._news.spread()

    def forget(self) -> None:
        """End, because the session is reset; nothing is emitted any more, but who waits is answered."""
        self._on_progress = None
        self.cancel(Reason.SESSION_RESET)

    async def stop(self) -> None:
        """End at once, because the service stops."""
        self.cancel(Reason.SERVICE_STOPPED)
        if self._task is not None:
            await asyncio.wait([self._task])

    def release_reports(self) -> None:
        """Return the bytes of the reports, which will not be kept."""
        for task in self.tasks:
            task.release_report()

    async def wait(self, reached: Callable[[], bool], seconds: float) -> None:
        """Wait until `reached` holds, the run or the time is over, or `end_waits` is called."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (reached() or self.is_over or self._has_ended_waits):
                    await self._news.event.wait()

    def end_waits(self) -> None:
        """End all waits, including future ones; the run itself continues."""
        self._has_ended_waits = True
        self._news.spread()

    async def _run_all(self) -> None:
        try:
            for task in self.tasks:
                await self._run_task(task)
        except asyncio.CancelledError:
            self._end_as(MigrationStatus.CANCELLED, Reason.SERVICE_STOPPED, None)
            raise
        except BaseException:
            self._end_as(MigrationStatus.FAILED, Reason.REFUSED, DEFECT)
            if self._on_end is not None:
                await self._on_end(self.tasks[-1].report)
            raise
        finally:
            for task in self.tasks:
                task.close(owns_machine=self._owns_machines)
            self._on_end = self._on_progress = None  # they hold machines, a kept report must not
            self._news.spread()

    async def _run_task(self, task: MigrationTask) -> None:
        began, began_ns = time.monotonic(), task.report.now_ns
        if self._on_progress is not None:
            self._on_progress(task.report)
        while not task.is_over:
            has_progress = await task.advance(self._on_end)
            if has_progress:
                if self._on_progress is not None:
                    self._on_progress(task.report)
                self._news.spread()
            if task.is_over:
                break
            if task.is_waiting and self._owns_machines:
                task.cancel(Reason.STALLED)  # nobody can send it the command
            elif task.is_waiting:
                await self._command.wait()
                began, began_ns = time.monotonic(), task.report.now_ns
            elif self._pace:
                due = began + (task.report.now_ns - began_ns) / 1e9 * self._pace
                await self._pause(due - time.monotonic())
            elif has_progress and self._pace_seconds:
                await self._pause(self._pace_seconds)
            self._command.clear()
        task.close(owns_machine=self._owns_machines)

    def request(self, change: ScheduledChange) -> None:
        """Change settings of the migrations, or give a command; call on the event loop.

        Raises:
            InvalidMigrationStateError: One has ended, or cannot do that in its phase.
        """
        for task in self.tasks:
            task.request(change)
        self._command.set()

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._command.wait()

    def _end_as(self, status: MigrationStatus, reason: Reason, refused: Refused | None) -> None:
        for task in self.tasks:
            task.end_as(status, reason, refused)
