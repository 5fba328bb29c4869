"""Migrations that run in the background while the service handles other requests.

A run advances in a worker thread, one piece at a time, and holds its machine's lock for one piece only, so
other calls on the machine are served in between. The reported state of a run is that of its last piece.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from hacdbs_sim.model import MigrationSpec, MigrationStatus, Reason, Refused
from hacdbs_sim.model.units import PAGES_PER_WORD
from hacdbs_sim.sim.guest.versions import BYTES_A_PAGE
from hacdbs_sim.vmm import Precopy, Report

from .budget import Account
from .vm_runtime import INLINE_WORK, VmRuntime

PIECE_SECONDS: Final = 0.05
"""About how long a run holds its machine's lock at a time."""

DEFECT: Final = Refused(
    code="internal_error", errno=None, detail="a defect of the service ended the migration"
)


def bytes_of(precopy: Precopy) -> int:
    """Return the bytes a migration holds beside its machine: received pages and pages to send."""
    npages = precopy.total_pages
    return npages // PAGES_PER_WORD * 8 + npages * BYTES_A_PAGE * precopy.spec.verify


class MigrationTask:
    """One migration of a run.

    Attributes:
        name: Its name within the run.
        spec: Its parameters.
        report: Its report after the last piece.
    """

    def __init__(self, name: str, runtime: VmRuntime, precopy: Precopy, account: Account) -> None:
        self.name = name
        self.spec: MigrationSpec = precopy.spec
        self._runtime: VmRuntime | None = runtime
        self._precopy: Precopy | None = precopy
        self._account = account
        self._cancelled_for: Reason | None = None
        self.report = precopy.report()

    @property
    def is_over(self) -> bool:
        """Return whether the migration has ended."""
        return self.report.status.is_final

    def seen(self) -> Report:
        """Return the current report; a cancelled migration is `cancelling` until it has ended."""
        if self._cancelled_for is None or self.is_over:
            return self.report
        return replace(self.report, status=MigrationStatus.CANCELLING, reason=self._cancelled_for)

    def cancel(self, reason: Reason) -> None:
        """Request the end; do nothing if it has ended or its end was requested before."""
        if self._precopy is not None and self._cancelled_for is None:
            self._cancelled_for = reason
            self._precopy.cancel(reason)

    async def advance(self) -> bool:
        """Run one piece; return whether it has made progress: another phase, or one more pass."""
        assert self._runtime is not None, "a migration that has ended does not continue"
        assert self._precopy is not None, "a migration that has ended does not continue"
        before = self._precopy.progress
        self.report = await self._runtime.run(self._run_piece, work=lambda: INLINE_WORK + 1)
        return self._precopy.progress != before

    def _run_piece(self) -> Report:
        precopy = self._precopy
        assert precopy is not None, "a migration that has ended does not continue"
        before, ends_at = precopy.progress, time.monotonic() + PIECE_SECONDS
        while precopy.step() and precopy.progress == before and time.monotonic() < ends_at:
            pass
        return precopy.report()

    def close(self, *, owns_machine: bool) -> None:
        """Release the machine, and close it if the run owns it."""
        if owns_machine and self._runtime is not None:
            self._runtime.close()
        self._account.close()
        self._runtime = self._precopy = None

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
        owns_machines: Whether the run closes the machines when it ends.
        on_progress: Called each time a migration has made progress.
    """

    def __init__(
        self,
        tasks: Sequence[MigrationTask],
        *,
        pace_seconds: float,
        owns_machines: bool,
        on_progress: Callable[[Report], None] | None = None,
    ) -> None:
        self.tasks = tuple(tasks)
        self._pace_seconds = pace_seconds
        self._owns_machines = owns_machines
        self._on_progress = on_progress
        self._news = _News(asyncio.Event())
        self._hurry = asyncio.Event()
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
        self._hurry.set()
        self._news.spread()

    async def stop(self) -> None:
        """End at once, because the service stops."""
        self.cancel(Reason.SERVICE_STOPPED)
        if self._task is not None:
            await asyncio.wait([self._task])

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
            raise
        finally:
            for task in self.tasks:
                task.close(owns_machine=self._owns_machines)
            self._news.spread()

    async def _run_task(self, task: MigrationTask) -> None:
        while not task.is_over:
            if not await task.advance():
                continue
            if self._on_progress is not None:
                self._on_progress(task.report)
            self._news.spread()
            if self._pace_seconds and not task.is_over:
                await self._pause()
        task.close(owns_machine=self._owns_machines)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace_seconds):
                await self._hurry.wait()

    def _end_as(self, status: MigrationStatus, reason: Reason, refused: Refused | None) -> None:
        for task in self.tasks:
            task.end_as(status, reason, refused)
