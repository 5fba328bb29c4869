"""What is not installed is named in one line, with what installs it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from hacdbs_sim import launcher
from hacdbs_sim.cli.exit_codes import ExitCode
from tests.plugin.conftest import Run, loaded, run  # noqa: F401 - fixtures

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[2]
SERVER: Final = ("fastapi", "prometheus_client", "pydantic_settings", "structlog", "uvicorn")
CLI: Final = ("rich", "typer")
BOTH: Final = ("yaml",)

ENVIRONMENT: Final = {
    name: value for name, value in os.environ.items() if not name.startswith("HACDBS_")
}


def python_without(
    packages: tuple[str, ...], code: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a program where packages cannot be imported."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({packages!r})); "
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", blocked + code, *arguments],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def hacdbs_sim_without(package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python_without((package,), "from hacdbs_sim.cli import main; main()", *arguments)


def line(extra: str) -> str:
    """The line that names an extra to who runs from this checkout."""
    return f"hacdbs-sim needs the extra `{extra}`: pip install -e '{ROOT}[{extra}]'"


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("typer", ["--help"], "cli"),
        ("typer", ["serve"], "cli"),
        ("rich", ["list"], "cli"),
        ("yaml", ["scenario", "list"], "cli"),
        ("uvicorn", ["serve", "--port", "0"], "server"),
        ("fastapi", ["serve", "--port", "0"], "server"),
        ("yaml", ["serve", "--port", "0"], "server"),
        ("pydantic_settings", ["healthcheck"], "server"),
    ],
)
def test_a_command_names_the_extra_that_it_needs(
    package: str, arguments: list[str], extra: str
) -> None:
    ended = hacdbs_sim_without(package, *arguments)

    assert (ended.returncode, ended.stdout) == (ExitCode.USAGE, "")
    assert ended.stderr == line(extra) + "\n"


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("fastapi", "Client.in_process()"),
        ("structlog", "AsyncClient.in_process()"),
        ("starlette", "serve_in_thread().__enter__()"),
        ("uvicorn", "serve_in_thread().__enter__()"),
    ],
)
def test_a_service_in_the_process_names_the_extra(package: str, use: str) -> None:
    code = (
        "from hacdbs_sim import AsyncClient, Client, serve_in_thread\n"
        f"try: {use}\n"
        "except ImportError as error: print(error, type(error).__name__, error.extra, error.name)\n"
    )

    ended = python_without((package,), "\n" + code)

    assert ended.stdout == f"{line('server')} MissingExtraError server {package}\n", ended.stderr


def test_the_plugin_names_the_extra_for_each_test_that_needs_its_service(
    pytester: pytest.Pytester,
    run: Run,  # noqa: F811 - a fixture
) -> None:
    pytester.makeconftest("import sys; sys.modules['prometheus_client'] = None")
    pytester.makepyfile(
        "def test_one(hacdbs_vm): pass\n"
        "def test_other(hacdbs_client): pass\n"
        "def test_without(): pass\n"
    )

    result = run()

    result.assert_outcomes(passed=1, errors=2)
    shown = result.stdout.str()
    assert shown.count(f"\n{line('server')}; or name a service that runs: HACDBS_URL\n") == 2
    assert shown.count("\nhacdbs-sim needs") == 2
    assert "Traceback" not in shown
    assert "launcher.py" not in shown


def test_client_plugin_and_core_need_no_extra() -> None:
    ended = python_without(
        SERVER + CLI + BOTH,
        "import hacdbs_sim.client, hacdbs_sim.pytest_plugin.testbed, hacdbs_sim.vmm.comparison, "
        "hacdbs_sim.sim.machine.vm, hacdbs_sim.traces.plot; hacdbs_sim.Client('http://127.0.0.1')",
    )

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("name", ["hacdbs_sim.none", "app"])
def test_a_module_of_ours_that_is_missing_is_no_extra(name: str) -> None:
    with pytest.raises(ModuleNotFoundError), launcher.requiring("server"):
        raise ModuleNotFoundError(name=name)


def test_the_app_of_another_project_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__init__.py").touch()

    ended = subprocess.run(
        [sys.executable, "-m", "hacdbs_sim.cli", "serve", "--port", "0"],
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == ExitCode.USAGE
    assert ended.stderr.startswith(f"the application of hacdbs-sim must lie in {ROOT / 'app'}, but")
    assert ended.stderr.count("\n") == 1
