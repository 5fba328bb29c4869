"""Migrations and comparisons as objects: begun, watched, waited for."""

import re
import time
from typing import Final

from hacdbs_sim.client.binding import AsyncHandle, AsyncRunner, Handle, Runner, bound, bound_async
from hacdbs_sim.client.call import Call
from hacdbs_sim.client.errors import WaitTimeoutError
from hacdbs_sim.client.operations import migrations as of_migrations
from hacdbs_sim.client.reports import ComparisonInfo, MigrationInfo

MIGRATION_SECONDS: Final = 60.0
POLL_SECONDS: Final = 20
"""The longest that one request waits: below what the client waits for an answer."""

_ORDER: Final = ("none", "setup", "active", "pre-switchover", "device")
_ITERATION: Final = re.compile(r"iteration-([0-9]+)\Z")


class _Polling:
    """The requests of one wait."""

    def __init__(self, timeout: float, what: str) -> None:
        self._timeout = timeout
        self._what = what
        self._ends_at = time.monotonic() + timeout

    def seconds(self) -> int:
        """Give how long the next request may wait.

        Raises:
            WaitTimeoutError: The time is over.
        """
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise WaitTimeoutError(f"no {self._what} within {self._timeout:g} s")
        return max(min(POLL_SECONDS, round(left)), 1)


def has_reached(info: MigrationInfo, wait_for: str) -> bool:
    """Tell whether a migration has come so far, or has ended."""
    if info.is_over:
        return True
    if (match := _ITERATION.match(wait_for)) is not None:
        return len(info.iterations) >= int(match[1])
    if wait_for not in _ORDER or info.status not in _ORDER:
        return False
    return _ORDER.index(info.status) >= _ORDER.index(wait_for)


class Migration(Handle[str]):
    """A migration.

    Attributes:
        info: The answer that began it; None if this is a handle of an id.
    """

    info: MigrationInfo | None = None

    get = bound(of_migrations.get_migration)
    report = bound(of_migrations.get_migration)
    cancel = bound(of_migrations.cancel_migration)
    query_migrate = bound(of_migrations.query_migrate)
    iterations = bound(of_migrations.get_iterations)
    csv = bound(of_migrations.get_iterations_csv)

    @property
    def migration_id(self) -> str:
        """Value of the migration's id."""
        return self._ref

    def wait(self, wait_for: str = "end", timeout: float = MIGRATION_SECONDS) -> MigrationInfo:
        """Wait for the end, a phase, or so many iterations (`iteration-3`), and give the report.

        Raises:
            WaitTimeoutError: It did not come so far in time.
        """
        polling = _Polling(timeout, f"{wait_for} of migration {self._ref}")
        while True:
            info = self.client.run(_watched(self._ref, wait_for, polling))
            if has_reached(info, wait_for):
                return info


class Comparison(Handle[str]):
    """A comparison.

    Attributes:
        info: The answer that began it; None if this is a handle of an id.
    """

    info: ComparisonInfo | None = None

    get = bound(of_migrations.get_comparison)
    cancel = bound(of_migrations.cancel_comparison)

    @property
    def comparison_id(self) -> str:
        """Value of the comparison's id."""
        return self._ref

    def wait(self, timeout: float = MIGRATION_SECONDS) -> ComparisonInfo:
        """Wait for the end of all variants, and give the reports.

        Raises:
            WaitTimeoutError: They did not end in time.
        """
        polling = _Polling(timeout, f"end of comparison {self._ref}")
        while True:
            info = self.client.run(_compared(self._ref, polling))
            if info.is_over:
                return info


class AsyncMigration(AsyncHandle[str]):
    """A migration.

    Attributes:
        info: The answer that began it; None if this is a handle of an id.
    """

    info: MigrationInfo | None = None

    get = bound_async(of_migrations.get_migration)
    report = bound_async(of_migrations.get_migration)
    cancel = bound_async(of_migrations.cancel_migration)
    query_migrate = bound_async(of_migrations.query_migrate)
    iterations = bound_async(of_migrations.get_iterations)
    csv = bound_async(of_migrations.get_iterations_csv)

    @property
    def migration_id(self) -> str:
        """Value of the migration's id."""
        return self._ref

    async def wait(
        self,
        wait_for: str = "end",
        timeout: float = MIGRATION_SECONDS,  # noqa: ASYNC109 - as Migration
    ) -> MigrationInfo:
        """Wait for the end, a phase, or so many iterations (`iteration-3`), and give the report.

        Raises:
            WaitTimeoutError: It did not come so far in time.
        """
        polling = _Polling(timeout, f"{wait_for} of migration {self._ref}")
        while True:
            info = await self.client.run(_watched(self._ref, wait_for, polling))
            if has_reached(info, wait_for):
                return info


class AsyncComparison(AsyncHandle[str]):
    """A comparison.

    Attributes:
        info: The answer that began it; None if this is a handle of an id.
    """

    info: ComparisonInfo | None = None

    get = bound_async(of_migrations.get_comparison)
    cancel = bound_async(of_migrations.cancel_comparison)

    @property
    def comparison_id(self) -> str:
        """Value of the comparison's id."""
        return self._ref

    async def wait(
        self,
        timeout: float = MIGRATION_SECONDS,  # noqa: ASYNC109 - as Comparison
    ) -> ComparisonInfo:
        """Wait for the end of all variants, and give the reports.

        Raises:
            WaitTimeoutError: They did not end in time.
        """
        polling = _Polling(timeout, f"end of comparison {self._ref}")
        while True:
            info = await self.client.run(_compared(self._ref, polling))
            if info.is_over:
                return info


def _watched(migration_id: str, wait_for: str, polling: _Polling) -> Call[MigrationInfo]:
    return of_migrations.get_migration(
        migration_id, wait_for=wait_for, wait_seconds=polling.seconds()
    )


def _compared(comparison_id: str, polling: _Polling) -> Call[ComparisonInfo]:
    return of_migrations.get_comparison(
        comparison_id, wait_for="end", wait_seconds=polling.seconds()
    )


def begun(client: Runner, info: MigrationInfo) -> Migration:
    """Give the migration of an answer."""
    migration = Migration(client, info.migration_id)
    migration.info = info
    return migration


def begun_async(client: AsyncRunner, info: MigrationInfo) -> AsyncMigration:
    """Give the migration of an answer."""
    migration = AsyncMigration(client, info.migration_id)
    migration.info = info
    return migration


def compared(client: Runner, info: ComparisonInfo) -> Comparison:
    """Give the comparison of an answer."""
    comparison = Comparison(client, info.comparison_id)
    comparison.info = info
    return comparison


def compared_async(client: AsyncRunner, info: ComparisonInfo) -> AsyncComparison:
    """Give the comparison of an answer."""
    comparison = AsyncComparison(client, info.comparison_id)
    comparison.info = info
    return comparison
