"""The pin policy of docs/security.md holds for what is installed by scripts, CI and image."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.txt", "requirements-build.txt", "requirements-dev.txt")
CALENDAR_VERSIONED = {"structlog"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GROUPS = {"dependencies": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}


def wanted_by(group: str) -> list[Requirement]:
    """What a group of pyproject.toml asks for, those of the groups that it names included."""
    found = []
    for requirement in map(Requirement, GROUPS[group]):
        if requirement.name == PROJECT["name"]:
            found += [each for extra in sorted(requirement.extras) for each in wanted_by(extra)]
        else:
            found.append(requirement)
    return found


def entries(lock: str) -> dict[NormalizedName, Requirement]:
    """The requirements of a lock by name; each with all its continuation lines."""
    text = (ROOT / lock).read_text()
    lines = re.sub(r"\\\n", " ", text).splitlines()
    found = {}
    for line in lines:
        wanted = line.partition(" --hash")[0].strip()
        if wanted and not wanted.startswith("#"):
            requirement = Requirement(wanted)
            found[canonicalize_name(requirement.name)] = requirement
            assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), f"{wanted} has no hash"
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_is_pinned_and_hashed(lock: str) -> None:
    locked = entries(lock)

    assert len(locked) > 1
    for requirement in locked.values():
        (pin,) = requirement.specifier
        assert pin.operator == "==", requirement
        assert requirement.url is None


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_has_an_address(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


def test_what_is_tested_is_what_is_shipped() -> None:
    builtin, tested = entries("requirements.txt"), entries("requirements-dev.txt")

    assert builtin.keys() <= tested.keys()
    for name, requirement in builtin.items():
        assert requirement.specifier == tested[name].specifier
        assert requirement.marker == tested[name].marker
        assert requirement.extras <= tested[name].extras  # what tests need may ask for more


@pytest.mark.parametrize("group", GROUPS)
def test_every_range_is_bounded_and_the_lock_is_within(group: str) -> None:
    locked = entries("requirements-dev.txt")

    for requirement in wanted_by(group):
        operators = {specifier.operator for specifier in requirement.specifier}
        assert ">=" in operators, requirement
        assert "<" in operators or requirement.name in CALENDAR_VERSIONED, requirement
        (pin,) = locked[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(pin.version), (requirement, pin)


def test_scripts_and_image_have_what_every_user_extra_needs() -> None:
    shipped = entries("requirements.txt")
    everything = [*wanted_by("dependencies"), *wanted_by("all")]

    assert {canonicalize_name(each.name) for each in everything} <= shipped.keys()
    for extra in PROJECT["optional-dependencies"].keys() - {
        "all",
        "dev",
        "otel",
    }:  # `otel` is left out of the image
        assert set(map(str, wanted_by(extra))) <= set(map(str, everything)), extra


def test_an_extra_that_a_package_asks_for_is_in_the_lock() -> None:
    """Else pip before 23.3 takes the newest release for the extra, and its hash is not there."""
    locked = entries("requirements-dev.txt")
    asked = 0
    for name in locked:
        try:
            wanted = requires(name) or []
        except PackageNotFoundError:  # for another platform than this
            continue
        for requirement in map(Requirement, wanted):
            is_meant = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if is_meant and requirement.extras:
                asked += 1
                assert requirement.extras <= locked[canonicalize_name(requirement.name)].extras

    assert asked
