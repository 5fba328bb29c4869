"""The client with plain methods is what scripts/client makes of the other."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("unasync", reason="unasync is not installed (extra dev)")

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "hacdbs_sim/client/_sync"


def test_the_committed_client_is_the_one_that_the_script_makes(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts/client"), str(tmp_path)]
    subprocess.run(command, check=True)  # noqa: S603 - our own script

    made = {path.name: path.read_text("utf-8") for path in tmp_path.glob("*.py")}
    assert made == {path.name: path.read_text("utf-8") for path in COMMITTED.glob("*.py")}


def test_nothing_of_coroutines_is_left() -> None:
    for path in COMMITTED.glob("*.py"):
        code = path.read_text("utf-8").partition("\n")[2]
        assert not {"async", "await", "Async", "Awaitable"} & set(code.replace("(", " ").split())
        assert "coroutine" not in code
