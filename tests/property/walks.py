"""Long walks, each a story drawn from a seed.

The number of steps comes from the Hypothesis profile (tests/conftest.py). WALK_SEED picks other walks.
"""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import cycle, islice, product
from typing import Final

from hacdbs_sim.model import KernelProfile
from tests.conftest import WALK_STEPS
from tests.property.dice import SeededDice
from tests.property.stories import Story, draw_story

STEPS_A_STORY: Final = 125
STORIES: Final = 80
STEPS: Final = STEPS_A_STORY * STORIES
"""Steps of one test."""

BLOCKS: Final = max(1, WALK_STEPS // STEPS)
"""Tests."""

SEED: Final = os.environ.get("WALK_SEED", "")

SETUPS: Final = tuple(islice(cycle(product((4096, 4096, 16384, 65536), KernelProfile)), STORIES))
"""Page size and kernel of each story of a test."""

SCALES: Final = ("words",) * 30 + ("blocks",) * 7 + ("arrays",)
"""How large the slots of stories are: most are some words, for the model walks every page."""


@contextmanager
def untraced() -> Generator[None]:
    """Run without coverage: a walk runs the same lines a million times, other tests cover them."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


def scales(page_size: int, seed: str) -> str:
    return SeededDice(f"scale {page_size} {seed}").pick(SCALES)


def story_of(block: int, number: int) -> Story:
    """Return a story of a test."""
    page_size, kernel = SETUPS[number]
    seed = f"{SEED}/{block}/{number}"
    with untraced():
        return draw_story(
            SeededDice(seed), page_size, kernel, scales(page_size, seed), STEPS_A_STORY
        )
