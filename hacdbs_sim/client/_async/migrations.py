"""Migrations and comparisons."""

from hacdbs_sim.client._async.resource import AsyncResource, AsyncSender
from hacdbs_sim.client.bodies import Fields, plain
from hacdbs_sim.client.request import given
from hacdbs_sim.client.results import read
from hacdbs_sim.client.waiting import MIGRATION_SECONDS, Patience, has_reached
from hacdbs_sim.model import (
    AutoConverge,
    ComparisonInfo,
    IterationTable,
    MigrationInfo,
    QueryMigrate,
)

__tracebackhide__ = True


class AsyncMigration(AsyncResource):
    """A migration.

    Attributes:
        migration_id: The migration's id.
        info: The response that started it; None if this is a handle of an id.
    """

    def __init__(
        self, sender: AsyncSender, migration_id: str, info: MigrationInfo | None = None
    ) -> None:
        super().__init__(sender, "v1", "migrations", migration_id)
        self.migration_id = migration_id
        self.info = info

    async def get(
        self, *, wait_for: str | None = None, wait_seconds: int | None = None
    ) -> MigrationInfo:
        """Return the migration and its report, at once or as soon as it has reached a phase."""
        params = {"wait_for": wait_for, "wait_seconds": wait_seconds}
        return read(MigrationInfo, await self.send("GET", params=params))

    async def cancel(self, *, key: str | None = None) -> MigrationInfo:
        """Cancel the migration; post-copy refuses."""
        return read(MigrationInfo, await self.send("POST", "cancel", key=key))

    async def update(
        self,
        *,
        bandwidth_bytes_per_second: int | None = None,
        downtime_limit_ns: int | None = None,
        switchover_bandwidth_bytes_per_second: int | None = None,
        postcopy_bandwidth_bytes_per_second: int | None = None,
        auto_converge: AutoConverge | Fields | None = None,
        throttle_percent: int | None = None,
        max_iterations: int | None = None,
        timeout_ns: int | None = None,
        key: str | None = None,
    ) -> MigrationInfo:
        """Change settings from the next chunk on; what is None stays."""
        body = given(
            bandwidth_bytes_per_second=bandwidth_bytes_per_second,
            downtime_limit_ns=downtime_limit_ns,
            switchover_bandwidth_bytes_per_second=switchover_bandwidth_bytes_per_second,
            postcopy_bandwidth_bytes_per_second=postcopy_bandwidth_bytes_per_second,
            auto_converge=None if auto_converge is None else plain(auto_converge),
            throttle_percent=throttle_percent,
            max_iterations=max_iterations,
            timeout_ns=timeout_ns,
        )
        return read(MigrationInfo, await self.send("PATCH", body=body, key=key))

    async def switch_over(self, *, key: str | None = None) -> MigrationInfo:
        """Switch over at the next chunk, however much remains."""
        return await self._command("switch-over", key)

    async def start_postcopy(self, *, key: str | None = None) -> MigrationInfo:
        """Let the guest run at the destination from the next chunk on."""
        return await self._command("start-postcopy", key)

    async def continue_(self, *, key: str | None = None) -> MigrationInfo:
        """Go on after `pause_before_switchover`."""
        return await self._command("continue", key)

    async def pause(self, *, key: str | None = None) -> MigrationInfo:
        """Pause a post-copy: break its link."""
        return await self._command("pause", key)

    async def resume(self, *, key: str | None = None) -> MigrationInfo:
        """Recover a paused post-copy."""
        return await self._command("resume", key)

    async def _command(self, path: str, key: str | None) -> MigrationInfo:
        return read(MigrationInfo, await self.send("POST", path, key=key))

    async def query_migrate(self) -> QueryMigrate:
        """Return what QMP's query-migrate would."""
        return read(QueryMigrate, await self.send("GET", "query-migrate"))

    async def get_iterations(self) -> IterationTable:
        """Return the passes that have ended."""
        return read(IterationTable, await self.send("GET", "iterations"))

    async def get_iterations_csv(self) -> str:
        """Return the passes that have ended as comma-separated values."""
        response = await self.send("GET", "iterations", headers={"Accept": "text/csv"})
        return response.text

    async def report(self) -> str:
        """Return the report as one HTML file to keep."""
        return (await self.send("GET", "report.html")).text

    async def wait(
        self, wait_for: str = "end", timeout: float = MIGRATION_SECONDS
    ) -> MigrationInfo:
        """Wait for the end, a phase, or an iteration (`iteration-3`); return the report.

        Raises:
            WaitTimeoutError: It was not reached in time.
        """
        patience = Patience(timeout, f"{wait_for} of migration {self.migration_id}")
        while True:
            info = await self.get(wait_for=wait_for, wait_seconds=patience.poll_seconds())
            if has_reached(info, wait_for):
                return info


class AsyncComparison(AsyncResource):
    """A comparison.

    Attributes:
        comparison_id: The comparison's id.
        info: The response that started it; None if this is a handle of an id.
    """

    def __init__(
        self, sender: AsyncSender, comparison_id: str, info: ComparisonInfo | None = None
    ) -> None:
        super().__init__(sender, "v1", "comparisons", comparison_id)
        self.comparison_id = comparison_id
        self.info = info

    async def get(
        self, *, wait_for: str | None = None, wait_seconds: int | None = None
    ) -> ComparisonInfo:
        """Return the comparison and its reports, at once or once all variants have ended."""
        params = {"wait_for": wait_for, "wait_seconds": wait_seconds}
        return read(ComparisonInfo, await self.send("GET", params=params))

    async def cancel(self, *, key: str | None = None) -> ComparisonInfo:
        """Cancel the variants that have not ended."""
        return read(ComparisonInfo, await self.send("POST", "cancel", key=key))

    async def report(self) -> str:
        """Return the report as one HTML file to keep."""
        return (await self.send("GET", "report.html")).text

    async def wait(self, timeout: float = MIGRATION_SECONDS) -> ComparisonInfo:
        """Wait for the end of all variants, and return the reports.

        Raises:
            WaitTimeoutError: They did not end in time.
        """
        patience = Patience(timeout, f"end of comparison {self.comparison_id}")
        while True:
            info = await self.get(wait_for="end", wait_seconds=patience.poll_seconds())
            if info.is_over:
                return info
