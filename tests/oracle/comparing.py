"""Runs the same actions on two sides and compares errno, bitmaps and exits for MMIO."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias

from hacdbs_sim.model import GetDirtyLog
from tests.oracle.answers import Answer, Side
from tests.oracle.ground import LOG, Ground, HostFacts, OracleAction
from tests.oracle.sequences import Sequence, draw
from tests.oracle.setups import Setup, draw_setup

Start: TypeAlias = Callable[[Setup], Side]
"""Makes a side's VM."""

SEQUENCE_ACTIONS: Final = 150
"""Draws in one sequence; the logs that are there at its end are got once more."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two sides part: the last action of the sequence."""

    sequence: Sequence
    reference: Answer
    subject: Answer


@dataclass(slots=True)
class Tally:
    """What has been compared.

    Attributes:
        kinds: Actions compared, by kind and errno.
        left_out: Actions that cannot be compared, by reason.
    """

    sequences: int = 0
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def compared(self) -> int:
        """The number of actions compared."""
        return self.kinds.total()


class Comparison:
    """Two sides that must answer alike.

    Args:
        facts: What the reference's host is like.
        reference: The side that is right; what it accepts decides what comes next.
        subject: The side under test.
    """

    def __init__(self, facts: HostFacts, reference: Start, subject: Start) -> None:
        self._facts = facts
        self._reference = reference
        self._subject = subject
        self.tally = Tally()

    def random_run(self, seed: str) -> Difference | None:
        """Draw a sequence and run it up to its end or the first difference."""
        rng = Random(seed)
        setup = draw_setup(rng)
        ground = Ground(self._facts, setup.backing)
        self.tally.sequences += 1
        return self._run(setup, ground, _draws(rng, ground), self.tally)

    def run(self, sequence: Sequence) -> Difference | None:
        """Run a given sequence up to its end or the first difference; not counted."""
        setup = sequence.setup
        return self._run(setup, Ground(self._facts, setup.backing), sequence.actions, Tally())

    def _run(
        self, setup: Setup, ground: Ground, actions: Iterable[OracleAction], tally: Tally
    ) -> Difference | None:
        reference, subject = self._reference(setup), self._subject(setup)
        done: list[OracleAction] = []
        try:
            for action in actions:
                if (why := ground.why_not(action)) is not None:
                    tally.left_out[why] += 1
                    continue
                right, mine = reference.perform(action), subject.perform(action)
                tally.kinds[type(action).__name__, right.errno or "ok"] += 1
                done.append(action)
                if right != mine:
                    return Difference(Sequence(setup, tuple(done)), right, mine)
                ground.note(action, right)
            return None
        finally:
            reference.close()
            subject.close()


def _draws(rng: Random, ground: Ground) -> Iterator[OracleAction]:
    for _ in range(SEQUENCE_ACTIONS):
        yield draw(rng, ground)
    for slot, known in list(ground.slots.items()):
        if known.region.flags & LOG:
            yield GetDirtyLog(slot=slot)
