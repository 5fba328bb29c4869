"""Where a walk's choices come from: a seeded generator for many steps, Hypothesis for short stories.

The same drawing code serves both, so that what Hypothesis can shrink and what runs by the hundred
thousand are the same actions.
"""

from collections.abc import Sequence
from random import Random
from typing import Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Dice(Protocol):
    """Choices, one at a time."""

    def pick(self, items: Sequence[T]) -> T:
        """Take one of some items, the first being the simplest."""
        ...

    def between(self, low: int, high: int) -> int:
        """Take an integer of low..high."""
        ...


class SeededDice:
    """A seed's choices: the same ones every time, at a microsecond each."""

    def __init__(self, seed: str) -> None:
        self._random = Random(seed)

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self._random.random() * len(items))]

    def between(self, low: int, high: int) -> int:
        return low + int(self._random.random() * (high - low + 1))


class DrawnDice:
    """Choices that Hypothesis draws, remembers and shrinks."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def pick(self, items: Sequence[T]) -> T:
        return self._data.draw(st.sampled_from(items))

    def between(self, low: int, high: int) -> int:
        return self._data.draw(st.integers(low, high))
