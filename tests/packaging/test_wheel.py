"""The wheel beside a FastAPI project that has an `app` of its own, and with each of its extras."""

import csv
import json
import subprocess
import time
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest

import hacdbs_sim
from hacdbs_sim.cli.exit_codes import ExitCode
from tests.packaging.conftest import ENVIRONMENT, ROOT, Environment, Environments

pytestmark = pytest.mark.slow

START_SECONDS: Final = 60
ONE_SLOT: Final = {"slot": 0, "guest_phys_addr": "0x40000000", "memory_size": "4MiB"}

IN_PROCESS: Final = """
import json
import app.main
from hacdbs_sim import Client

with Client.in_process() as client:
    vm = client.create_vm()
    print(json.dumps([vm.vm_id, app.main.app.title]))
"""


def needs(extra: str) -> str:
    return f"hacdbs-sim needs the extra `{extra}`: pip install 'hacdbs-sim[{extra}]'"


@contextmanager
def serving(command: list[str], directory: Path) -> Generator[httpx.Client]:
    """Run a server of ours that writes its port, and open a client of it."""
    port_file = directory / "port"
    process = subprocess.Popen(  # noqa: S603 - a program of the environment
        [*command, "serve", "--port", "0", "--port-file", str(port_file)],
        env=ENVIRONMENT,
        cwd=directory,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            give_up_at = time.monotonic() + START_SECONDS
            while not port_file.exists() and time.monotonic() < give_up_at:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.05)
            url = f"http://127.0.0.1:{int(port_file.read_text())}"
            with httpx.Client(base_url=url, trust_env=False) as client:
                yield client
        finally:
            process.kill()


def commands(environment: Environment) -> list[list[str]]:
    """The ways to the command line: `-m` has the project's folder first in sys.path."""
    return [
        [environment.program("hacdbs-sim")],
        [environment.program("python"), "-m", "hacdbs_sim.cli"],
    ]


def test_the_wheel_has_the_library_and_the_service_in_it_and_nothing_else(wheel: Path) -> None:
    info = f"hacdbs_sim-{hacdbs_sim.__version__}.dist-info/"
    with zipfile.ZipFile(wheel) as file:
        record = file.read(info + "RECORD").decode()
        packed = set(file.namelist())

    names = {row[0] for row in csv.reader(record.splitlines())}
    assert names == packed
    files = {
        path.relative_to(ROOT)
        for folder in ("app", "hacdbs_sim")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    wanted = {
        Path("hacdbs_sim", path) if path.parts[0] == "app" else path
        for path in files - {Path("app/cli.py")}
    }
    assert {Path(name) for name in names if not name.startswith(info)} == wanted
    assert {
        "hacdbs_sim/py.typed",
        "hacdbs_sim/app/py.typed",
        "hacdbs_sim/app/main.py",
        "hacdbs_sim/app/ui/index.html",
        "hacdbs_sim/scenarios/pack/lost-interrupt.yaml",
        "hacdbs_sim/traces/data/xz.npz",
    } <= names


def test_a_project_with_an_app_has_both(environments: Environments, project: Path) -> None:
    environment = environments.holding("all")

    for command in commands(environment):
        with serving(command, project) as http:
            (project / "port").unlink()
            ready = http.get("/readyz")
            made = http.post("/v1/vms", json={"memslots": [ONE_SLOT]})
            page = http.get("/ui")
            scenarios = http.get("/v1/scenarios").json()["scenarios"]
        assert (ready.status_code, made.status_code, page.status_code) == (200, 201, 200)
        assert made.json()["vm_id"] == "default-1"
        assert "lost-interrupt" in {each["scenario"] for each in scenarios}

    tested = environment.run("python", "-m", "pytest", "-p", "no:cacheprovider", cwd=project)
    assert "1 passed" in tested.stdout, tested.stdout

    inside = environment.run("python", "-W", "error", "-c", IN_PROCESS, cwd=project)
    assert inside.returncode == 0, inside.stderr
    assert json.loads(inside.stdout) == ["default-1", "the shop"]


def test_without_an_extra_client_and_plugin_use_a_service_elsewhere(
    environments: Environments, project: Path, tmp_path: Path
) -> None:
    base = environments.holding()
    (project / "test_shop.py").write_text(
        "def test_the_shop(hacdbs_vm):\n"
        "    vm = hacdbs_vm()\n"
        "    assert vm.slot(0).get_dirty_log().dirty_count == 0\n"
    )

    with serving(commands(environments.holding("all"))[0], tmp_path) as http:
        url = f"--hacdbs-url={http.base_url}"
        tested = base.run("python", "-m", "pytest", "-p", "no:cacheprovider", url, cwd=project)
    alone = base.run("python", "-m", "pytest", "-p", "no:cacheprovider", cwd=project)

    assert "1 passed" in tested.stdout, tested.stdout
    assert "1 error" in alone.stdout
    assert f"\n{needs('server')}; or name a service that runs: HACDBS_URL\n" in alone.stdout
    assert alone.stdout.count("\nhacdbs-sim needs") == 1
    assert "Traceback" not in alone.stdout


@pytest.mark.parametrize(
    ("extras", "arguments", "extra"),
    [
        ((), ["serve"], "cli"),
        (("server",), ["serve"], "cli"),
        (("cli",), ["serve"], "server"),
        (("cli",), ["healthcheck"], "server"),
    ],
)
def test_a_command_names_the_extra_that_it_needs(
    environments: Environments,
    tmp_path: Path,
    extras: tuple[str, ...],
    arguments: list[str],
    extra: str,
) -> None:
    ended = environments.holding(*extras).run("hacdbs-sim", *arguments, cwd=tmp_path)

    assert (ended.returncode, ended.stdout) == (ExitCode.USAGE, "")
    assert ended.stderr == needs(extra) + "\n"


def test_the_demo_says_why_its_own_service_did_not_start(
    environments: Environments, tmp_path: Path
) -> None:
    ended = environments.holding("cli").run("hacdbs-sim", "demo", "--quick", cwd=tmp_path)

    assert (ended.returncode, ended.stdout) == (ExitCode.USAGE, "")
    assert ended.stderr == needs("server") + "\n"


def test_an_extra_is_enough_for_what_it_is_for(
    environments: Environments, project: Path, tmp_path: Path
) -> None:
    inside = environments.holding("server").run("python", "-c", IN_PROCESS, cwd=project)
    with serving(commands(environments.holding("all"))[0], tmp_path) as http:
        url = f"--url={http.base_url}"
        called = environments.holding("cli").run(
            "hacdbs-sim", "scenario", "run", "lost-interrupt", url, cwd=tmp_path
        )
    figures = environments.holding("cli").run("hacdbs-sim", "trace", "info", "xz", cwd=tmp_path)

    assert inside.returncode == 0, inside.stderr
    assert called.returncode == 0, called.stderr
    assert figures.returncode == 0, figures.stderr
