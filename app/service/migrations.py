"""The migrations and comparisons of a service: the running ones, and the kept reports."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from hacdbs_sim import model
from hacdbs_sim.model import EventType, MigrationSpec, Reason, RunGuest
from hacdbs_sim.model.errors import NotSupportedByBackendError
from hacdbs_sim.model.units import PAGES_PER_WORD
from hacdbs_sim.vmm import LiveMigration, Report, public_report, row_of

from .budget import Account, StateBudget
from .errors import (
    MigrationLimitError,
    MigrationRunningError,
    NoSuchComparisonError,
    NoSuchMigrationError,
)
from .events import EventLog
from .migration_tasks import MigrationRun, MigrationTask, OnEnd, bytes_of, bytes_of_report
from .origins import origin_of
from .vm_runtime import VmRuntime

MAX_RUNNING_MIGRATIONS: Final = 16
MAX_KEPT_MIGRATIONS_PER_SESSION: Final = 100
MAX_KEPT_COMPARISONS_PER_SESSION: Final = 25
"""A session's reports make room for its own. All of them take their bytes from the budget of state."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A migration that has not begun, and what it begins with."""

    migration: LiveMigration
    origin: model.Origin


def prepared(runtime: VmRuntime, spec: MigrationSpec) -> Prepared:
    """Prepare to migrate a VM; this takes 10 us for each memslot.

    Raises:
        InvalidMigrationError: The VM cannot be migrated with these parameters.
        NotSupportedByBackendError: Its guest does not run in virtual time.
    """
    _check_backend(runtime)
    migration = LiveMigration(runtime, spec, tracking=runtime.tracking)
    return Prepared(migration, origin_of(runtime, spec))


async def prepare(runtime: VmRuntime, spec: MigrationSpec) -> Prepared:
    """The same while holding the VM, in a thread where that takes long."""
    return await runtime.run(
        lambda: prepared(runtime, spec), work=lambda: runtime.work_of_all_memslots(PAGES_PER_WORD)
    )


@dataclass(frozen=True, slots=True, eq=False)
class Migration:
    """A migration of a VM, by its id, `{session_id}-m{number}`."""

    session_id: str
    number: int
    vm_id: str
    run: MigrationRun
    origin: model.Origin
    destination_vm_id: str | None = None

    @property
    def migration_id(self) -> str:
        """The id by which clients refer to it."""
        return f"{self.session_id}-m{self.number}"

    def cancel(self) -> None:
        """Cancel the migration; an ended one is not changed.

        Raises:
            InvalidMigrationStateError: It is in post-copy: neither side has all of the guest.
        """
        if self.report().status.is_postcopy:
            self.run.request(model.ScheduledChange(command=model.MigrationCommand.CANCEL))
        self.run.cancel()

    def report(self) -> Report:
        """Return the current report."""
        return self.run.tasks[0].seen()

    def info(self) -> model.MigrationInfo:
        """Return the representation for clients."""
        return model.MigrationInfo(
            migration_id=self.migration_id,
            session_id=self.session_id,
            vm_id=self.vm_id,
            destination_vm_id=self.destination_vm_id,
            origin=self.origin,
            **vars(public_report(self.report())),
        )

    def brief(self) -> model.MigrationBrief:
        """Return the entry for a list."""
        report = self.report()
        return model.MigrationBrief(
            migration_id=self.migration_id,
            session_id=self.session_id,
            vm_id=self.vm_id,
            status=report.status,
            reason=report.reason,
            iteration_count=len(report.iterations),
            lost_pages=report.verification.lost_pages,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Migrations of separate machines to compare, by its id, `{session_id}-c{number}`."""

    session_id: str
    number: int
    run: MigrationRun
    compared: model.Compared

    @property
    def comparison_id(self) -> str:
        """The id by which clients refer to it."""
        return f"{self.session_id}-c{self.number}"

    def brief(self) -> model.ComparisonBrief:
        """Return the entry for a list."""
        return model.ComparisonBrief(**self._brief())

    def info(self) -> model.ComparisonInfo:
        """Return the comparison with the reports of its variants."""
        reports = tuple(
            model.VariantReport(name=task.name, **vars(public_report(task.seen())))
            for task in self.run.tasks
        )
        return model.ComparisonInfo(compared=self.compared, reports=reports, **self._brief())

    def _brief(self) -> dict[str, Any]:
        return {
            "comparison_id": self.comparison_id,
            "session_id": self.session_id,
            "status": self._status(),
            "rows": tuple(row_of(task.name, task.seen()) for task in self.run.tasks),
        }

    def _status(self) -> model.ComparisonStatus:
        if not self.run.is_over:
            return model.ComparisonStatus.RUNNING
        if any(task.report.reason in _BY_OTHERS for task in self.run.tasks):
            return model.ComparisonStatus.CANCELLED
        return model.ComparisonStatus.COMPLETED


_BY_OTHERS: Final = frozenset({Reason.CANCEL, Reason.SESSION_RESET, Reason.SERVICE_STOPPED})

K = TypeVar("K", Migration, Comparison)


class _Kept(Generic[K]):
    """Started items, oldest first; above the limit of a session, its oldest ended one is dropped."""

    def __init__(self, per_session: int) -> None:
        self._per_session = per_session
        self._by_id: dict[str, K] = {}
        self._running: list[K] = []
        self._last_numbers: dict[str, int] = {}

    def number(self, session_id: str) -> int:
        """Return the next number of a session."""
        self._last_numbers[session_id] = number = self._last_numbers.get(session_id, 0) + 1
        return number

    def add(self, known_as: str, item: K) -> None:
        """Add an item."""
        self._by_id[known_as] = item
        self._running = self.running()
        self._running.append(item)
        of_session = [each for each in self._by_id.values() if each.session_id == item.session_id]
        ended = [each for each in of_session if each.run.is_over]
        for dropped in ended[: max(len(of_session) - self._per_session, 0)]:
            dropped.run.release_reports()
            self._by_id = {k: each for k, each in self._by_id.items() if each is not dropped}

    def find(self, known_as: str) -> K | None:
        """Return an item by its id."""
        return self._by_id.get(known_as)

    def of(self, session_id: str | None) -> list[K]:
        """List the items of a session, or of all (None), by session, then number."""
        found = [e for e in self._by_id.values() if session_id in {None, e.session_id}]
        return sorted(found, key=lambda each: (each.session_id, each.number))

    def running(self) -> list[K]:
        """List the items that have not ended, oldest first."""
        return [each for each in self._running if not each.run.is_over]

    def forget(self, session_id: str) -> None:
        """Forget the items of a session, and number the next ones from 1 again."""
        for item in self.of(session_id):
            item.run.release_reports()
            item.run.forget()
        self._by_id = {k: each for k, each in self._by_id.items() if each.session_id != session_id}
        self._running = [each for each in self._running if each.session_id != session_id]
        self._last_numbers.pop(session_id, None)


class Migrations:
    """All migrations and comparisons of one service; used on the event loop only."""

    def __init__(self, budget: StateBudget, events: EventLog) -> None:
        self._budget = budget
        self._events = events
        self._migrations: _Kept[Migration] = _Kept(MAX_KEPT_MIGRATIONS_PER_SESSION)
        self._comparisons: _Kept[Comparison] = _Kept(MAX_KEPT_COMPARISONS_PER_SESSION)
        self._running: set[MigrationRun] = set()
        self._is_stopping = False

    def start(
        self,
        session_id: str,
        vm_id: str,
        runtime: VmRuntime,
        prepared: Prepared,
        *,
        pace_ms: int = 0,
        pace: float = 0.0,
        destination_vm_id: str | None = None,
        on_end: OnEnd | None = None,
    ) -> Migration:
        """Start to migrate a VM.

        Raises:
            MigrationRunningError: The VM is being migrated already.
            MigrationLimitError: The maximum number of migrations is running.
            StateBytesLimitError: The received pages would exceed the budget.
        """
        self.check_startable(session_id, vm_id, runtime)
        task = self.task("", runtime, prepared.migration, pace=pace)
        number = self._migrations.number(session_id)
        migration_id = f"{session_id}-m{number}"
        run = MigrationRun(
            (task,),
            pace_seconds=pace_ms / 1000,
            pace=pace,
            owns_machines=False,
            on_end=on_end,
            on_progress=partial(self._emit_progress, session_id, vm_id, migration_id),
        )
        migration = Migration(session_id, number, vm_id, run, prepared.origin, destination_vm_id)
        self._migrations.add(migration_id, migration)
        self._start(run)
        return migration

    def count_by_status(self) -> Counter[str]:
        """Count the kept migrations, running ones included, by status."""
        return Counter(each.report().status.value for each in self._migrations.of(None))

    def check_startable(self, session_id: str, vm_id: str, runtime: VmRuntime) -> None:
        """Refuse a migration that could not start, whatever its parameters are.

        Raises:
            MigrationRunningError: The VM is being migrated already.
            MigrationLimitError: The maximum number of migrations is running.
            NotSupportedByBackendError: Its guest does not run in virtual time.
        """
        if (other := self.running_of(session_id, vm_id)) is not None:
            raise MigrationRunningError(
                f"the VM is being migrated by {other.migration_id}",
                field="vm_id",
                bound=1,
                value=vm_id,
            )
        self.check_limit()
        _check_backend(runtime)

    def running_of(self, session_id: str, vm_id: str) -> Migration | None:
        """Return the migration of a VM that has not ended; None: there is none."""
        for each in self._migrations.running():
            if (each.session_id, each.vm_id) == (session_id, vm_id):
                return each
        return None

    def compare(
        self,
        session_id: str,
        tasks: list[MigrationTask],
        compared: model.Compared,
        *,
        pace_ms: int = 0,
    ) -> Comparison:
        """Start to migrate machines that the comparison owns, one after the other."""
        run = MigrationRun(tasks, pace_seconds=pace_ms / 1000, owns_machines=True)
        number = self._comparisons.number(session_id)
        comparison = Comparison(session_id, number, run, compared)
        self._comparisons.add(comparison.comparison_id, comparison)
        self._start(run)
        return comparison

    def task(
        self, name: str, runtime: VmRuntime, migration: LiveMigration, *, pace: float = 0.0
    ) -> MigrationTask:
        """Return the task of a migration that is to run; raises as `start` does."""
        account = Account(self._budget)
        account.hold(bytes_of(migration) + bytes_of_report(migration.spec.max_iterations))
        return MigrationTask(name, runtime, migration, account, is_paced=pace > 0)

    def check_limit(self) -> None:
        """Raise if the maximum number of runs is running."""
        self._running = {run for run in self._running if not run.is_over}
        if len(self._running) >= MAX_RUNNING_MIGRATIONS:
            raise MigrationLimitError(
                f"{MAX_RUNNING_MIGRATIONS} migrations and comparisons run,"
                " as many as the service takes",
                bound=MAX_RUNNING_MIGRATIONS,
            )

    def migration(self, migration_id: str) -> Migration:
        """Return a migration by its id."""
        if (found := self._migrations.find(migration_id)) is None:
            raise NoSuchMigrationError(
                "there is no such migration", field="migration_id", value=migration_id
            )
        return found

    def migrations(self, session_id: str | None) -> list[Migration]:
        """List the migrations of a session, or of all (None)."""
        return self._migrations.of(session_id)

    def comparison(self, comparison_id: str) -> Comparison:
        """Return a comparison by its id."""
        if (found := self._comparisons.find(comparison_id)) is None:
            raise NoSuchComparisonError(
                "there is no such comparison", field="comparison_id", value=comparison_id
            )
        return found

    def comparisons(self, session_id: str | None) -> list[Comparison]:
        """List the comparisons of a session, or of all (None)."""
        return self._comparisons.of(session_id)

    def vm_gone(self, vm_id: str) -> None:
        """End the migration of a deleted VM, and those that arrive at it; their reports are kept."""
        for migration in self._migrations.running():
            if migration.vm_id == vm_id:
                migration.run.cancel(Reason.VM_DELETED)
            elif migration.destination_vm_id == vm_id:
                migration.run.cancel(Reason.DESTINATION_DIED)

    def session_gone(self, session_id: str) -> None:
        """End and forget the migrations and comparisons of a session that is reset or deleted."""
        self._migrations.forget(session_id)
        self._comparisons.forget(session_id)

    def begin(self) -> None:
        """Allow waits for runs; called when the service starts."""
        self._is_stopping = False

    def begin_stop(self) -> None:
        """End all waits for runs, including future ones; the runs continue until `stop`."""
        self._is_stopping = True
        for run in self._running:
            run.end_waits()

    async def stop(self) -> None:
        """End all runs, because the service stops."""
        for run in [each for each in self._running if not each.is_over]:
            await run.stop()

    def _start(self, run: MigrationRun) -> None:
        self._running.add(run)
        if self._is_stopping:
            run.end_waits()
        run.start()

    def _emit_progress(
        self, session_id: str, vm_id: str, migration_id: str, report: Report
    ) -> None:
        self._events.emit(
            EventType.MIGRATION,
            session_id=session_id,
            vm_id=vm_id,
            now_ns=report.now_ns,
            details={
                "migration_id": migration_id,
                "status": report.status.value,
                "reason": None if report.reason is None else report.reason.value,
                "iteration": len(report.iterations),
                "dirty_sync_count": report.stats.syncs,
                "remaining_pages": report.remaining_pages,
            },
        )


def _check_backend(runtime: VmRuntime) -> None:
    """Refuse a VM whose guest does not run in virtual time."""
    if not runtime.supports(RunGuest):
        raise NotSupportedByBackendError(
            f"a VM of the backend {runtime.capabilities.backend} cannot be migrated in virtual"
            " time: its guest does not run by itself",
            field="vm_id",
        )
