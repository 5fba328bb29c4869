"""The migrations, comparisons and the scenario that a test leaves in its session."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from hacdbs_sim import model
from hacdbs_sim.client import ClientError, NotFoundError, Service, Session
from hacdbs_sim.pytest_plugin.reporting_client import reporting_client
from hacdbs_sim.wire import read, write

MAX_MIGRATIONS: Final = 100
"""As many as a session keeps."""


@dataclass(frozen=True, slots=True)
class KeptRuns:
    """What a test leaves."""

    migrations: tuple[model.MigrationInfo, ...] = ()
    comparisons: tuple[model.ComparisonInfo, ...] = ()
    scenario: model.ScenarioOutcome | None = None

    def properties(self) -> Iterator[tuple[str, object]]:
        """Yield the figures of each migration as properties of the test, for JUnit files.

        Of several migrations the names of the second and later ones end in their number: `.2`.
        """
        for number, info in enumerate(self.migrations, 1):
            end = f".{number}" if number > 1 else ""
            figures = {
                "migration": info.migration_id,
                "status": info.status.value,
                "reason": "" if info.reason is None else info.reason.value,
                "lost_pages": info.verification.lost_pages if info.verification.enabled else "",
                "passes": info.totals.iterations,
                "downtime_ns": info.totals.downtime_ns,
                "seed": info.origin.vm.seed,
            }
            for name, value in figures.items():
                yield f"hacdbs.{name}{end}", value

    def plain(self) -> dict[str, Any]:
        """Return the same as JSON texts, which a worker of pytest-xdist can send."""
        return {
            "migrations": [write(each).decode() for each in self.migrations],
            "comparisons": [write(each).decode() for each in self.comparisons],
            "scenario": None if self.scenario is None else write(self.scenario).decode(),
        }

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> "KeptRuns":
        """Read what `plain` returned."""
        scenario = plain["scenario"]
        return cls(
            tuple(read(model.MigrationInfo, each) for each in plain["migrations"]),
            tuple(read(model.ComparisonInfo, each) for each in plain["comparisons"]),
            None if scenario is None else read(model.ScenarioOutcome, scenario),
        )


def kept_runs(service: Service, session_id: str, *, is_reported: bool) -> KeptRuns:
    """Read what a session has; nothing if the service does not respond or the session is gone.

    The comparisons and the scenario are read only if they are reported.
    """
    with reporting_client(service) as client:
        try:
            listed = islice(client.list_migrations(session_id), MAX_MIGRATIONS)
            migrations = tuple(client.migration(each.migration_id).get() for each in listed)
            if not is_reported:
                return KeptRuns(migrations)
            comparisons = tuple(
                client.comparison(each.comparison_id).get()
                for each in client.list_comparisons(session_id)
            )
            return KeptRuns(migrations, comparisons, _scenario(client.session(session_id)))
        except ClientError:
            return KeptRuns()


def _scenario(session: Session) -> model.ScenarioOutcome | None:
    try:
        return session.get_scenario()
    except NotFoundError:
        return None
