"""The builtin scenarios, as the API shows them."""

from functools import cache

from hacdbs_sim.model import BuiltinScenario
from hacdbs_sim.scenarios.builtin import load, names

from ..service.errors import NoSuchScenarioError


@cache
def builtin() -> tuple[BuiltinScenario, ...]:
    """List the builtin scenarios by name; they are read once."""
    return tuple(map(_of, names()))


def _of(name: str) -> BuiltinScenario:
    document = load(name)
    return BuiltinScenario(
        scenario=document["scenario"],
        description=document["description"],
        seen_in=document["seen_in"],
        document=document,
    )


def find_builtin(name: str) -> BuiltinScenario:
    """Return a builtin scenario by its name.

    Raises:
        NoSuchScenarioError: No builtin scenario has this name.
    """
    for each in builtin():
        if each.scenario == name:
            return each
    raise NoSuchScenarioError("no builtin scenario has this name", field="name", value=name)
