"""What holds of every machine after every action, each rule a class of its own.

docs/invariants.md lists them for readers; a test holds the two lists to each other. None needs the
scalar model: `Lockstep` compares that.
"""

from typing import Final

from tests.property import invariants_of_calls, invariants_of_guest, invariants_of_memory
from tests.property.invariant import Invariant

STEPWISE: Final[tuple[type[Invariant], ...]] = tuple(
    each
    for module in (invariants_of_memory, invariants_of_calls, invariants_of_guest)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, Invariant) and each is not Invariant
)
"""Judged after every action."""
