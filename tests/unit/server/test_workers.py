"""One process: uvicorn with more workers ends before it serves, with a line that says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.wire import HANG_SECONDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
UVICORN = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0"]


def started(command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Start a service that ends by itself."""
    environment = {name: value for name, value in os.environ.items() if name != "WEB_CONCURRENCY"}
    return subprocess.run(  # noqa: S603 - this interpreter
        command,
        env=environment | variables,
        cwd=ROOT,
        timeout=HANG_SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("options", "variables"),
    [(["--workers", "2"], {}), ([], {"WEB_CONCURRENCY": "2"})],
    ids=["option", "variable"],
)
def test_more_workers_of_uvicorn_do_not_start(
    options: list[str], variables: dict[str, str]
) -> None:
    ended = started([*UVICORN, *options], **variables)

    assert "hacdbs-sim is one process, not 2 workers" in ended.stderr
    assert "--workers 1, WEB_CONCURRENCY unset" in ended.stderr
    assert "stopping the parent process" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_uvicorn_alone_refuses_an_empty_token_with_one_line() -> None:
    by_uvicorn = started(UVICORN, HACDBS_TOKEN="")

    assert by_uvicorn.returncode == 3
    assert by_uvicorn.stderr.startswith("HACDBS_TOKEN: must be visible ASCII characters")
    assert len(by_uvicorn.stderr.splitlines()) == 1
