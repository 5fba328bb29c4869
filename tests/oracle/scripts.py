"""Sequences as Python: a small script that reproduces a difference, and the words that it uses."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model import Bitmap, Gfns
from tests.oracle.comparing import Comparison, Difference, Start
from tests.oracle.ground import OracleAction
from tests.oracle.sequences import Sequence
from tests.oracle.setups import Setup
from tests.oracle.sides import CoreSide, RealSide, host_facts

_LONG_LIST: Final = 16
_IN_BYTES: Final = ("guest_phys_addr", "memory_size", "userspace_addr")


def gfns(*numbers: int) -> Gfns:
    """Name guest frames one by one."""
    return Gfns(np.array(numbers, np.uint64))


def bits_in(count: int, *pages: int) -> Bitmap:
    """Make a bitmap of `count` words with these bits set."""
    flags = np.zeros(64 * count, np.uint8)
    flags[list(pages)] = 1
    return Bitmap(np.packbits(flags, bitorder="little").view(np.uint64))


def pages_of(words: NDArray[np.uint64]) -> tuple[int, ...]:
    """Return the bits that are set in a bitmap."""
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little")
    return tuple(np.flatnonzero(bits).tolist())


def reproduce(setup: Setup, *actions: OracleAction, subject: Start = CoreSide) -> str:
    """Run actions on real KVM and on the core (or another side), and return where they differ."""
    difference = Comparison(host_facts(), RealSide, subject).run(Sequence(setup, actions))
    return "no difference" if difference is None else describe(difference)


def describe(difference: Difference) -> str:
    """Describe where two sides differ."""
    actions = difference.sequence.actions
    return "\n".join(
        [
            f"at action {len(actions)}, {source_of(actions[-1])}",
            f"real KVM: {difference.reference}",
            f"here:     {difference.subject}",
        ]
    )


def script_of(difference: Difference, *, http: bool = False) -> str:
    """Return the script that reproduces a difference."""
    actions = difference.sequence.actions
    names = sorted({type(action).__name__ for action in actions})
    return "\n".join(
        [
            "# Save it, and run it from the project's root: .venv/bin/python - < FILE",
            *(f"# {line}" for line in describe(difference).splitlines()),
            f"from hacdbs_sim.model import {', '.join(names)}",
            "from tests.oracle.scripts import bits_in, gfns, reproduce",
            "from tests.oracle.setups import Setup",
            *(["from tests.oracle.service import HttpService"] if http else []),
            "",
            "print(",
            "    reproduce(",
            f"        {source_of(difference.sequence.setup)},",
            *(f"        {source_of(action)}," for action in actions),
            *(["        subject=HttpService().start,"] if http else []),
            "    )",
            ")",
        ]
    )


def source_of(value: OracleAction | Setup) -> str:
    """Return an action, or a setup, as Python."""
    given = ", ".join(f"{name}={argument}" for name, argument in _arguments(value))
    return f"{type(value).__name__}({given})"


def _arguments(given: OracleAction | Setup) -> Iterator[tuple[str, str]]:
    for each in fields(given):
        value = getattr(given, each.name)
        if isinstance(value, Gfns):
            yield each.name, f"gfns({_listed(tuple(value.gfns.tolist()))})"
        elif isinstance(value, Bitmap):
            listed = _listed(pages_of(value.words))
            yield each.name, f"bits_in({len(value.words)}{listed and f', {listed}'})"
        elif value != each.default:
            yield each.name, f"{value:#x}" if each.name in _IN_BYTES else repr(value)


def _listed(numbers: tuple[int, ...]) -> str:
    """Write numbers down; many neighbours as a range."""
    if len(numbers) > _LONG_LIST and numbers == tuple(range(numbers[0], numbers[-1] + 1)):
        return f"*range({numbers[0]}, {numbers[-1] + 1})"
    return ", ".join(map(str, numbers))
