"""The steps of the workflow in docs/quickstart.md pass in a project of a user's, as they are written.

No index is asked: the packages that pip would download are linked from this environment, but for the package of
this checkout itself, which pip builds and installs from the folder that the workflow names.
"""

import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from packaging.requirements import Requirement

from tests.docs.test_quickstart import blocks
from tests.packaging.conftest import ENVIRONMENT, ROOT, link, needed
from tests.support.wire import HANG_SECONDS

HELD: Final = ("hacdbs-sim[all]", "pytest", "pytest-xdist", "hatchling", "editables", "pip")
PROGRAMS: Final = {"pip": "pip._internal.cli.main:main", "pytest": "pytest:console_main"}


def workflow_steps() -> list[dict[str, Any]]:
    (text,) = blocks("GitHub Actions", "yaml")
    steps: list[dict[str, Any]] = yaml.safe_load(text)["jobs"]["test"]["steps"]
    return steps


@pytest.fixture
def checkouts(tmp_path: Path) -> Path:
    """What the workflow's `actions/checkout` steps leave: a user's project, and ours in a folder of it."""
    workspace = tmp_path / "workspace"
    (workspace / "tests").mkdir(parents=True)
    (workspace / "tests/test_migration.py").write_text(*blocks("pytest", "python"))
    (ours,) = (step["with"] for step in workflow_steps() if "repository" in step.get("with", {}))
    assert ours["repository"].endswith("/hacdbs-sim")
    for name in ("app", "hacdbs_sim", "tests", "pyproject.toml", "README.md", "LICENSE"):
        source, target = ROOT / name, workspace / ours["path"] / name
        target.parent.mkdir(exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return workspace


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """The directory of `python`, `pip` and `pytest`, as `actions/setup-python` and the first step leave them."""
    home = tmp_path / "python"
    venv.create(home, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(home)}))
    for package in needed([Requirement(each) for each in HELD]):
        link(package, site)
    for name, entry in PROGRAMS.items():
        module, function = entry.split(":")
        program = home / "bin" / name
        program.write_text(
            f"#!{home}/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        )
        program.chmod(0o755)
    return home / "bin"


@pytest.mark.slow
def test_the_steps_pass_in_a_users_project(checkouts: Path, programs: Path) -> None:
    script = "\n".join(step["run"] for step in workflow_steps() if "run" in step)
    assert "${{" not in script, "an expression that Actions evaluates, and a shell does not"

    completed = subprocess.run(  # noqa: S603 - our own document
        # As Actions starts a step's shell
        ["/usr/bin/env", "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=checkouts,
        env={
            **ENVIRONMENT,
            "PATH": f"{programs}:{ENVIRONMENT['PATH']}",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say that there is none
            "GITHUB_RUN_NUMBER": "17",
        },
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )

    assert completed.returncode == 0, completed.stdout + completed.stderr
    assert "Successfully installed hacdbs-sim" in completed.stdout
    assert "1 passed" in completed.stdout
    assert "--hacdbs-seed=17" in completed.stdout
