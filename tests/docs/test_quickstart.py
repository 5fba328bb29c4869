"""Each way of docs/quickstart.md works as written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hacdbs_sim.client import serve_in_thread
from tests.plugin.conftest import Run, loaded, run  # noqa: F401 - fixtures

PAGE = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text(encoding="utf-8")


def blocks(section: str, language: str) -> list[str]:
    """The blocks of a section in a language."""
    text = PAGE.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found, f"{section} shows no {language}"
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_the_curl_story_runs_against_a_service() -> None:
    with serve_in_thread() as service:
        completed = subprocess.run(  # noqa: S603 - our own document
            ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", *blocks("curl", "bash")],
            env={**os.environ, "HACDBS_URL": service.url},
            capture_output=True,
            text=True,
            check=False,
        )
        with service.client() as client:
            left = [session.session_id for session in client.list_sessions()]

    assert completed.returncode == 0, completed.stderr
    assert '"dirty_count":2000' in completed.stdout
    assert '"reason":"IPAF"' in completed.stdout
    assert left == ["default"]


def test_the_python_story_runs() -> None:
    completed = subprocess.run(  # noqa: S603 - our own document
        [sys.executable, "-W", "error", "-c", *blocks("Python", "python")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (completed.returncode, completed.stdout) == (0, "2000 cleaned\n"), completed.stderr


@pytest.mark.slow
def test_the_pytest_story_runs(pytester: pytest.Pytester, run: Run) -> None:  # noqa: F811 - a fixture
    pytester.makepyfile(*blocks("pytest", "python"))

    run("-n", "2").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("section", "schema"),
    [("GitHub Actions", "vendor.github-workflows"), ("Containers", "vendor.compose-spec")],
)
def test_a_file_is_one_that_its_reader_takes(tmp_path: Path, section: str, schema: str) -> None:
    (tmp_path / "file.yml").write_text(*blocks(section, "yaml"))

    checked = subprocess.run(  # noqa: S603 - a tool of ours on our own document
        [
            Path(sys.executable).with_name("check-jsonschema"),
            "--builtin-schema",
            schema,
            tmp_path / "file.yml",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout
