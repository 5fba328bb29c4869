"""Each way of docs/quickstart.md works as written, and so do README's and docs/client.md's snippets."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hacdbs_sim.client import serve_in_thread
from tests.plugin.conftest import Run, loaded, run  # noqa: F401 - fixtures

ROOT = Path(__file__).parents[2]


def blocks(section: str, language: str, page: str = "docs/quickstart.md") -> list[str]:
    """The blocks of a page's section in a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = text.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found, f"{section} shows no {language}"
    return found


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
ANYIO = """
import pytest


@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def run_with_curl(script: str, url: str) -> str:
    """Run a script in Bash as its reader would, up to the first command that fails."""
    completed = subprocess.run(  # noqa: S603 - our own document
        ["/usr/bin/env", "bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "HACDBS_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def documents(text: str) -> Iterator[Any]:
    """The JSON documents that follow one another in a text."""
    while text:
        document, end = json.JSONDecoder().raw_decode(text)
        yield document
        text = text[end:].lstrip()


@needs_curl
def test_the_curl_story_runs_against_a_service() -> None:
    with serve_in_thread() as service:
        (script,) = blocks("curl", "bash")
        shown = run_with_curl(script, service.url)
        with service.client() as client:
            left = [session.session_id for session in client.list_sessions()]

    assert '"dirty_count":2000' in shown
    assert '"reason":"IPAF"' in shown
    assert left == ["default"]


@needs_curl
def test_the_readmes_story_returns_what_it_says() -> None:
    (script,) = blocks("One story with curl", "bash", "README.md")

    with serve_in_thread() as service:
        made, written, _, log = documents(run_with_curl(script, service.url))

    error, accelerator = log["accelerator"]["error"], log["accelerator"]
    assert f'"vm_id": "{made["vm_id"]}"' in script
    shown = "".join(script.split())
    for name in ("pages", "newly_dirty", "translation_faults"):
        assert f'"{name}":{written[name]}' in shown
    for name in ("dirty_count", "remaining_count", "page_ranges"):
        assert f'"{name}":{json.dumps(log[name], separators=(",", ":"))}' in shown
    for name in ("outcome", "errno", "cleaned"):
        assert f'"{name}":{json.dumps(accelerator[name])}' in shown
    assert {name: error[name] for name in ("reason", "batch", "index", "gfn")} == {
        "reason": "IPAF",
        "batch": 2,
        "index": 7,
        "gfn": 263175,
    }
    assert f'"pages":{log["software"]["pages"]}' in shown


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


@pytest.mark.slow
def test_the_clients_pytest_examples_pass(pytester: pytest.Pytester, run: Run) -> None:  # noqa: F811 - a fixture
    pytester.makepyfile(*blocks("pytest", "python", "docs/client.md"))
    pytester.makeconftest(ANYIO)

    run("-n", "0").assert_outcomes(passed=3)


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
