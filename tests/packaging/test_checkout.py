"""A checkout: `uvicorn app.main:app`, and an environment that an older commit made."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.packaging.conftest import ENVIRONMENT, ROOT

START_SECONDS: Final = 60

# venv.sh with pip replaced: it prints what would be installed
ENSURE: Final = """
source "$1"
pip_install() { echo "$*"; }
ensure_venv "$2"
"""


def test_uvicorn_serves_the_application_of_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    process = subprocess.Popen(  # noqa: S603 - our own program
        [
            *(sys.executable, "-m", "uvicorn", "app.main:app"),
            *("--uds", str(path), "--log-level", "warning"),
        ],
        env=ENVIRONMENT,
        cwd=ROOT,
    )
    with process, httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as http:
        try:
            give_up_at = time.monotonic() + START_SECONDS
            while not path.exists() and time.monotonic() < give_up_at:
                assert process.poll() is None
                time.sleep(0.05)
            answer = http.get("http://localhost/readyz")
        finally:
            process.kill()

    assert answer.status_code == 200


def test_the_command_of_an_environment_from_before_the_move_says_so() -> None:
    ended = subprocess.run(
        # As pip wrote it for the entry point that there was
        [sys.executable, "-c", "import sys; from app.cli import main; sys.exit(main())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("hacdbs-sim: this environment was made by an older commit;")
    assert ended.stderr.count("\n") == 1


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what venv.sh reads, and a python that makes environments without pip."""
    for name in ("pyproject.toml", "requirements.txt", "requirements-build.txt"):
        (tmp_path / name).write_text("first\n")
    (tmp_path / "requirements-dev.txt").write_text("first\n")
    python = tmp_path / "python"
    python.write_text(
        "#!/usr/bin/env bash\n"
        '[[ ${1:-} == -m ]] && set -- "$@" --without-pip\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    python.chmod(0o755)
    return tmp_path


def ensure(checkout: Path, kind: str) -> list[str]:
    """What ensure_venv installs, one pip call a line."""
    ended = subprocess.run(  # noqa: S603 - our own script
        [
            *("/usr/bin/env", "bash", "-euo", "pipefail", "-c", ENSURE),
            *("-", str(ROOT / "scripts/venv.sh"), kind),
        ],
        env={**os.environ, "PYTHON": str(checkout / "python")},
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


LOCKED: Final = "--require-hashes -r requirements.txt -r requirements-build.txt"
OURS: Final = "--no-deps --no-build-isolation --editable ."


@pytest.mark.parametrize("changed", ["pyproject.toml", "requirements.txt"])
def test_an_environment_of_an_older_commit_is_renewed_once(checkout: Path, changed: str) -> None:
    assert ensure(checkout, "runtime") == [LOCKED, OURS]
    assert ensure(checkout, "runtime") == []

    (checkout / changed).write_text("second\n")

    assert ensure(checkout, "runtime") == [LOCKED, OURS]
    assert ensure(checkout, "runtime") == []


def test_an_environment_that_was_moved_is_made_again(checkout: Path) -> None:
    ensure(checkout, "dev")
    assert ensure(checkout, "runtime") == []  # the development lock holds it too
    made_by = checkout / ".venv/.made-by"
    made_by.write_text(made_by.read_text().replace(str(checkout), "/elsewhere"))
    (checkout / ".venv/left").touch()

    assert ensure(checkout, "runtime") == [LOCKED, OURS]
    assert not (checkout / ".venv/left").exists()
