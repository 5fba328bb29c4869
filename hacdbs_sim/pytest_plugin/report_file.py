"""--hacdbs-report: one HTML file of all tests that used the service."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest

import hacdbs_sim
from hacdbs_sim.pytest_plugin.kept_runs import KeptRuns
from hacdbs_sim.report import TestRun, suite_html

MAX_FAILURE_CHARS: Final = 20_000
"""How much of a failure's text is kept: its end."""


@dataclass(slots=True)
class ReportFile:
    """Collects the reports of the tests, and writes the file at the end of the run.

    Attributes:
        path: Where.
        seed: That of --hacdbs-seed.
    """

    path: str
    seed: int
    _runs: dict[str, TestRun] = field(default_factory=dict)
    _problem: str = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a phase of a test; with pytest-xdist the workers' reports arrive here, too."""
        run = self._runs.get(report.nodeid) or TestRun(name=report.nodeid, outcome=report.outcome)
        if report.when == "call" or not report.passed:
            failed = "failed" in {run.outcome, report.outcome}
            run = replace(run, outcome="failed" if failed else report.outcome)
        if report.failed:
            failure = f"{run.failure}{report.longreprtext}\n"[-MAX_FAILURE_CHARS:]
            run = replace(run, failure=failure)
        plain: dict[str, Any] | None = getattr(report, "hacdbs_runs", None)
        if plain is not None:
            kept = KeptRuns.of_plain(plain)
            run = replace(
                run,
                migrations=kept.migrations,
                comparisons=kept.comparisons,
                scenario=kept.scenario,
                used_service=True,
            )
        self._runs[report.nodeid] = run

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        runs = [run for run in self._runs.values() if run.used_service]
        text = suite_html(runs, self.seed, hacdbs_sim.__version__)
        try:
            Path(self.path).write_text(text, encoding="utf-8")
        except OSError as error:
            self._problem = str(error)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print where it is."""
        if self._problem:
            terminalreporter.write_line(f"hacdbs-sim report not written: {self._problem}", red=True)
        else:
            terminalreporter.write_line(f"hacdbs-sim report: {self.path}")
