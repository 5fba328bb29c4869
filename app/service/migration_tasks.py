"""Migrations that are carried on in the background, while the service answers others.

A run goes on in a worker thread, piece by piece, and holds its machine's lock for one piece only: what
others want of the machine comes in between. What is told of a run is the report of its last piece.
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
"""For about so long a run holds its machine at a time."""

DEFECT: Final = Refused(
    code="internal_error", errno=None, detail="a defect of the service ended the migration"
)


def bytes_of(precopy: Precopy) -> int:
    """Give what a migration holds beside its machine: what arrived, and what is to be sent."""
    npages = precopy.total_pages
    return npages // PAGES_PER_WORD * 8 + npages * BYTES_A_PAGE * precopy.spec.verify


class MigrationTask:
    """One migration of a run.

    Attributes:
        name: What it is called in the run.
        spec: How it is run.
        report: How it stood after the last piece.
    """

    def __init__(self, name: str, runtime: VmRuntime, precopy: Precopy, account: Account) -> None:
        self.name = name
        self.spec: MigrationSpec = precopy.spec
        self._runtime: VmRuntime | None = runtime
        self._precopy: Precopy | None = precopy
        self._account = account
        self._asked_to_end: Reason | None = None
        self.report = precopy.report()

    @property
    def is_over(self) -> bool:
        """Tell whether it has ended."""
        return self.report.status.is_final

    def seen(self) -> Report:
        """Tell how it stands; one that is asked to end is `cancelling` until it has."""
        if self._asked_to_end is None or self.is_over:
            return self.report
        return replace(self.report, status=MigrationStatus.CANCELLING, reason=self._asked_to_end)

    def cancel(self, reason: Reason) -> None:
        """Ask for the end; nothing happens where it has ended, or was asked to before."""
        if self._precopy is not None and self._asked_to_end is None:
            self._asked_to_end = reason
            self._precopy.cancel(reason)

    async def advance(self) -> bool:
        """Go on by a piece; tell whether it has come further: another phase, or a pass more."""
        assert self._runtime is not None, "only what has not ended goes on"
        assert self._precopy is not None, "only what has not ended goes on"
        before = self._precopy.progress
        self.report = await self._runtime.run(self._go_on, work=lambda: INLINE_WORK + 1)
        return self._precopy.progress != before

    def _go_on(self) -> Report:
        precopy = self._precopy
        assert precopy is not None, "only what has not ended goes on"
        before, ends_at = precopy.progress, time.monotonic() + PIECE_SECONDS
        while precopy.step() and precopy.progress == before and time.monotonic() < ends_at:
            pass
        return precopy.report()

    def close(self, *, owns_machine: bool) -> None:
        """Let go of the machine, with its bytes if it is nobody else's."""
        if owns_machine and self._runtime is not None:
            self._runtime.close()
        self._account.close()
        self._runtime = self._precopy = None

    def end_as(self, status: MigrationStatus, reason: Reason, refused: Refused | None) -> None:
        """Have it ended where it could not end by itself."""
        if not self.is_over:
            self.report = replace(self.report, status=status, reason=reason, refused=refused)


@dataclass(slots=True, eq=False)
class _News:
    """Who waits for a run to come further."""

    event: asyncio.Event

    def spread(self) -> None:
        self.event.set()
        self.event = asyncio.Event()


class Run:
    """Migrations one after the other.

    Args:
        legs: The migrations.
        pace_seconds: Real seconds to wait whenever one has come further.
        owns_machines: Whether the machines go with the run.
        tell: Called whenever a migration has come further.
    """

    def __init__(
        self,
        tasks: Sequence[MigrationTask],
        *,
        pace_seconds: float,
        owns_machines: bool,
        tell: Callable[[Report], None] | None = None,
    ) -> None:
        self.tasks = tuple(tasks)
        self._pace_seconds = pace_seconds
        self._owns_machines = owns_machines
        self._tell = tell
        self._news = _News(asyncio.Event())
        self._hurry = asyncio.Event()
        self._has_ended_waits = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Tell whether all its migrations have ended."""
        return all(task.is_over for task in self.tasks)

    def start(self) -> None:
        """Begin, on the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._carry_on())

    def cancel(self, reason: Reason = Reason.CANCEL) -> None:
        """Ask for the end of what has not ended; from the event loop."""
        for task in self.tasks:
            task.cancel(reason)
        self._hurry.set()
        self._news.spread()

    async def stop(self) -> None:
        """End at once, for the service stops."""
        self.cancel(Reason.SERVICE_STOPPED)
        if self._task is not None:
            await asyncio.wait([self._task])

    async def wait(self, reached: Callable[[], bool], seconds: float) -> None:
        """Wait until something is reached, the run or the time is over, or `end_waits` is called."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (reached() or self.is_over or self._has_ended_waits):
                    await self._news.event.wait()

    def end_waits(self) -> None:
        """End all waits, those to come included; the run itself goes on."""
        self._has_ended_waits = True
        self._news.spread()

    async def _carry_on(self) -> None:
        try:
            for task in self.tasks:
                await self._carry_on_with(task)
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

    async def _carry_on_with(self, task: MigrationTask) -> None:
        while not task.is_over:
            if not await task.advance():
                continue
            if self._tell is not None:
                self._tell(task.report)
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
