"""The wheel, and environments that hold it with its extras' packages and nothing else.

No index is asked: an environment links the packages that this one has, by what the wheel's own
metadata asks for. The editable installation of this checkout is not among them.
"""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT: Final = Path(__file__).parents[2]

# As a user's: nothing of the run that tests it, not its coverage either
ENVIRONMENT: Final = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("HACDBS_", "PYTHON", "PYTEST", "COV", "VIRTUAL_ENV"))
}


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment."""

    home: Path

    def program(self, name: str) -> str:
        return str(self.home / "bin" / name)

    def run(self, program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - programs of the environment
            [self.program(program), *arguments],
            env=ENVIRONMENT,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


class Environments:
    """The environments that tests ask for, each made once."""

    def __init__(self, wheel: Path, directory: Path) -> None:
        self._wheel = wheel
        self._directory = directory
        self._made: dict[tuple[str, ...], Environment] = {}

    def holding(self, *extras: str) -> Environment:
        """An environment with the wheel, these extras, and pytest."""
        if extras not in self._made:
            self._made[extras] = self._make(extras)
        return self._made[extras]

    def _make(self, extras: tuple[str, ...]) -> Environment:
        home = self._directory / "-".join(("env", *extras))
        venv.create(home, with_pip=False, symlinks=True)
        made = Environment(home)
        site = Path(sysconfig.get_path("purelib", "venv", {"base": str(home)}))
        for name in needed([*wanted_by(self._wheel, extras), Requirement("pytest")]):
            link(name, site)
        subprocess.run(  # noqa: S603 - our own pip
            [
                *(sys.executable, "-m", "pip", "--python", made.program("python"), "install"),
                *("--quiet", "--no-index", "--no-deps", str(self._wheel)),
            ],
            env=ENVIRONMENT,
            check=True,
        )
        return made


def wanted_by(wheel: Path, extras: tuple[str, ...]) -> Iterator[Requirement]:
    """What the wheel asks for."""
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(file.read(name).decode())
    wanted = map(Requirement, metadata.get_all("Requires-Dist", []))
    yield from (each for each in wanted if is_meant(each, extras))


def is_meant(requirement: Requirement, extras: tuple[str, ...]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def needed(requirements: list[Requirement]) -> set[NormalizedName]:
    """The distributions that meet requirements, with all that these need."""
    found: dict[NormalizedName, set[str]] = {}
    left = list(requirements)
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if name in found and requirement.extras <= found[name]:
            continue
        found.setdefault(name, set()).update(requirement.extras)
        wanted = map(Requirement, distribution(name).requires or [])
        left += [each for each in wanted if is_meant(each, tuple(found[name]))]
    return found.keys() - {canonicalize_name("hacdbs-sim")}


def link(name: str, site: Path) -> None:
    """Link a distribution's files into an environment."""
    found = distribution(name)
    tops = {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}
    for top in tops:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(found.locate_file(top))))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built by the locked backend."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(  # noqa: S603 - our own pip
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(directory), str(ROOT)),
        ],
        env=ENVIRONMENT,
        check=True,
    )
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="session")
def environments(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environments:
    return Environments(wheel, tmp_path_factory.mktemp("environments"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A FastAPI project of a user's, with an `app` of its own."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app/__init__.py").touch()
    (tmp_path / "app/main.py").write_text(
        "from fastapi import FastAPI\n\napp = FastAPI(title='the shop')\n"
    )
    (tmp_path / "test_shop.py").write_text(
        "import app.main\n"
        "import hacdbs_sim\n\n\n"
        "def test_the_shop(hacdbs_vm):\n"
        "    vm = hacdbs_vm()\n"
        "    vm.guest_write([0x40000])\n"
        "    assert vm.slot(0).get_dirty_log().dirty_count == 1\n"
        "    assert app.main.app.title == 'the shop'\n"
        "    assert 'site-packages' in hacdbs_sim.__file__\n"
    )
    return tmp_path
