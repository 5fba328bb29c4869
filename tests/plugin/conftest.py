"""Runs of pytest on sample suites, in processes of their own, with the plugin as it is installed."""

import os
from collections.abc import Callable

import pytest

from hacdbs_sim.client import serve_in_thread
from tests.support.wire import HANG_SECONDS

Run = Callable[..., pytest.RunResult]


@pytest.fixture(scope="session", autouse=True)
def loaded() -> None:
    """Import what a service and a client import late.

    `pytester` forgets the modules that its test imported, and a library that is imported a second
    time does not know the exceptions of the first.
    """
    with serve_in_thread() as service, service.client() as client:
        client.get_livez()


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest on what was made in the directory, as its user would, whatever runs us."""
    for name in os.environ:
        if name.startswith(("HACDBS_", "PYTEST_XDIST", "PYTEST_ADDOPTS")):
            monkeypatch.delenv(name)

    def run_pytest(*arguments: str) -> pytest.RunResult:
        # schemathesis takes longer to load than the suites to run
        without = ("-p", "no:schemathesis", "-p", "no:asyncio")
        return pytester.runpytest_subprocess(*without, *arguments, timeout=HANG_SECONDS)

    return run_pytest


@pytest.fixture
def run_apart(run: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest with a coverage measurement of its own, or none."""
    for name in os.environ:
        if name.startswith(("COVERAGE_", "COV_")):
            monkeypatch.delenv(name)
    return run
