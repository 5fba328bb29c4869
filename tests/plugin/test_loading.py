"""The plugin is there in every run, and brings nothing along until it is asked."""

import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.plugin.conftest import Run

USES = """
    def test_use(hacdbs_vm):
        vm = hacdbs_vm()
        vm.guest_write([0x40000])
        assert vm.slot(0).get_dirty_log().dirty_count == 1
"""


def test_pytest_finds_it_by_its_entry_point() -> None:
    (found,) = entry_points(group="pytest11", name="hacdbs-sim")

    assert found.value == "hacdbs_sim.pytest_plugin"


def test_it_imports_nothing_of_the_application_until_a_fixture_is_used(
    pytester: pytest.Pytester, run_apart: Run
) -> None:
    pytester.makepyfile(
        """
        import sys

        OURS = {"app", "hacdbs_sim", "httpx", "numpy"}

        def loaded():
            return {name for name in sys.modules if name.split(".")[0] in OURS}

        EARLY = loaded()

        def test_nothing_is_there():
            assert EARLY == loaded() == {"hacdbs_sim", "hacdbs_sim.pytest_plugin"}

        def test_use(hacdbs_client):
            assert "app.main" in loaded()
        """
    )

    # Others import httpx and numpy for themselves
    run_apart("-p", "no:anyio", "-p", "no:hypothesispytest").assert_outcomes(passed=2)


def executed(pytester: pytest.Pytester, module: str) -> set[int]:
    report = json.loads(Path(pytester.path, "coverage.json").read_bytes())
    (name,) = (name for name in report["files"] if name.endswith(module))
    return set(report["files"][name]["executed_lines"])


def line_of(module: str, text: str) -> int:
    source = Path(__file__).parents[2] / module
    lines = source.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(text))


AT_IMPORT = [
    ("hacdbs_sim/sim/machine/vm.py", "class Machine"),
    ("app/service/fleet.py", "class Fleet"),
    ("app/main.py", "def create_app"),
    ("hacdbs_sim/client/request.py", "def given"),
    ("hacdbs_sim/pytest_plugin/testbed.py", "class Testbed"),
]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["one process", "two workers"])
def test_coverage_counts_what_runs_at_import(
    pytester: pytest.Pytester, run_apart: Run, workers: list[str]
) -> None:
    pytester.makepyfile(USES)

    result = run_apart("--cov=app", "--cov=hacdbs_sim", "--cov-report=json", *workers)

    result.assert_outcomes(passed=1)
    for module, text in AT_IMPORT:
        assert line_of(module, text) in executed(pytester, module), module


@pytest.mark.slow
def test_a_plugin_that_imported_it_early_would_be_found_out(
    pytester: pytest.Pytester, run_apart: Run
) -> None:
    pytester.makepyfile(USES, eager="import app.main")
    pytester.syspathinsert()

    result = run_apart("-p", "eager", "--cov=app", "--cov=hacdbs_sim", "--cov-report=json")

    result.assert_outcomes(passed=1)
    module, text = AT_IMPORT[0]
    assert line_of(module, text) not in executed(pytester, module)
