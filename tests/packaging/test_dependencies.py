"""pyproject.toml asks for what each part of the project imports, and for nothing else."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typing_extensions import override

ROOT: Final = Path(__file__).parents[2]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS: Final = {"app", "hacdbs_sim"}
PARTS_OF_OTHERS: Final = {"pydantic_core"}
"""pydantic pins its release."""

# Scenarios are documents that the service and the command line read, and the client sends
DOCUMENTS: Final = ROOT / "hacdbs_sim/scenarios"
COMMANDS: Final = ROOT / "hacdbs_sim/cli"
TELEMETRY: Final = ROOT / "app/http/telemetry.py"
"""Imported only where HACDBS_OTEL is on."""


def sources(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from folder.rglob("*.py")


PARTS: Final = {
    "base": [
        path
        for path in sources(ROOT / "hacdbs_sim")
        if DOCUMENTS not in path.parents
        and (COMMANDS not in path.parents or path == COMMANDS / "__init__.py")
    ],
    "server": [path for path in sources(ROOT / "app", DOCUMENTS) if path != TELEMETRY],
    "otel": [TELEMETRY],
    "cli": list(sources(COMMANDS, DOCUMENTS)),
}


class Imports(ast.NodeVisitor):
    """The packages that a module imports, but for those it can do without."""

    def __init__(self) -> None:
        self.packages: set[str] = set()

    @override
    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    @override
    def visit_With(self, node: ast.With) -> None:
        if not any("requiring(" in ast.unparse(item) for item in node.items):
            self.generic_visit(node)

    @override
    def visit_Import(self, node: ast.Import) -> None:
        self.packages |= {alias.name.partition(".")[0] for alias in node.names}

    @override
    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if not node.level and node.module is not None:
            self.packages.add(node.module.partition(".")[0])


def imported(part: str) -> set[str]:
    found = Imports()
    for path in PARTS[part]:
        found.visit(ast.parse(path.read_text(encoding="utf-8")))
    without = {*OURS, *PARTS_OF_OTHERS, *sys.stdlib_module_names}
    # Who loads the plugin has pytest
    return found.packages - without - ({"pytest"} if part == "base" else set())


def declared(part: str) -> set[str]:
    """The distributions that are there with an extra, also by one that it names; `base`: without any."""
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"].get(part, [])
    found: set[str] = set()
    for each in map(Requirement, wanted):
        is_ours = each.name == PROJECT["name"]
        found |= (
            set().union(*map(declared, each.extras)) if is_ours else {canonicalize_name(each.name)}
        )
    return found


@pytest.mark.parametrize("part", PARTS)
def test_what_a_part_imports_is_asked_for(part: str) -> None:
    distributions = packages_distributions()

    missing = {
        package
        for package in imported(part)
        if declared(part).isdisjoint(map(canonicalize_name, distributions[package]))
    }

    assert missing == set()


@pytest.mark.parametrize("part", PARTS)
def test_what_is_asked_for_is_used(part: str) -> None:
    packages: dict[str, set[str]] = {}
    for package, names in packages_distributions().items():
        for name in names:
            packages.setdefault(canonicalize_name(name), set()).add(package)
    paths = [path for each in PARTS.values() for path in each] if part == "base" else PARTS[part]
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    others = {"base": set(), "otel": declared("server")}.get(part, declared("base"))
    own = declared(part) - others

    unused = {
        name for name in own if not any(re.search(rf"\b{each}\b", text) for each in packages[name])
    }

    assert unused == set()
