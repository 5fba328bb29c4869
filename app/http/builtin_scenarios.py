"""The scenarios that ship, as the API shows them."""

from functools import cache

from hacdbs_sim.scenarios.builtin import load, names

from ..service.errors import NoSuchScenarioError
from .schemas.scenarios import BuiltinScenarioOut


@cache
def builtin() -> list[BuiltinScenarioOut]:
    """List them by name; read once, for they are part of the program."""
    return [_out(name) for name in names()]


def _out(name: str) -> BuiltinScenarioOut:
    document = load(name)
    return {
        "scenario": document["scenario"],
        "description": document["description"],
        "seen_in": document["seen_in"],
        "document": document,
    }


def find_builtin(name: str) -> BuiltinScenarioOut:
    """Find one by its name."""
    for each in builtin():
        if each["scenario"] == name:
            return each
    raise NoSuchScenarioError("no scenario of this name ships", field="name", value=name)
