"""Many steps on many machines against the scalar model, every invariant after each step.

The number of steps comes from the Hypothesis profile (tests/conftest.py); they are spread over tests by
seed, so that several workers share them. WALK_SEED picks other walks.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import cycle, islice, product
from typing import Final, get_args

import pytest

from hacdbs_sim.sim.actions import Action, FaultType, KernelProfile
from tests.conftest import WALK_STEPS
from tests.property.dice import SeededDice
from tests.property.replaying import replay
from tests.property.stories import Story, tell

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

STEPS_A_STORY: Final = 125
STORIES: Final = 80
STEPS: Final = STEPS_A_STORY * STORIES
"""Steps of one test."""

SEED: Final = os.environ.get("WALK_SEED", "")

SCALES: Final = ("words",) * 30 + ("blocks",) * 7 + ("arrays",)
"""How large the slots of stories are: most are some words, for the model walks every page."""

REPLAYED: Final = 4
"""Stories of each test that are told again over HTTP, twice."""

ACTIONS: Final = tuple(kind.__name__ for kind in get_args(Action))

MUST_HAPPEN: Final = (
    *(f"{name} done" for name in ACTIONS if name != "SetEagerSplitChunkSize"),
    *(f"{name} refused" for name in ACTIONS if name != "TrackVersions"),
    *(f"hit: {kind.value}" for kind in FaultType),
    *(f"hook: {outcome}" for outcome in ("cleaned", "declined", "partial")),
    *(f"errno: {errno}" for errno in ("None", "ENXIO", "EPERM", "ENOMEM", "EAGAIN")),
    *(f"stopped: {why}" for why in ("STRUCTF", "IPAF", "IPAHACF", "LOST_INTERRUPT")),
    *(
        f"refused: {code}"
        for code in ("beyond_ipa_space", "copy_to_user_failed", "memslots_present")
    ),
    *(f"refused: {code}" for code in ("invalid_workload", "too_many_writes")),
    *(f"{kind} wrote" for kind in ("sequential", "uniform", "hot_set", "zipf", "moving")),
    *(f"{kind} wrote" for kind in ("replay", "intervals", "a burst", "the host", "the guest")),
    "pages were gone",
    "faults stalled",
    "throttled",
    "several slices",
    "versions were kept",
    "cpu plugged",
    "cpu unplugged",
    "several runs",
    "hook split blocks",
    "software split blocks",
    "frontier in mid word",
)
"""What each of CI's tests must come across."""

PROVEN_BLOCKS: Final = 10
"""The first tests. Among the many of a long run one may miss a rare case by chance."""


@contextmanager
def untraced() -> Generator[None]:
    """Go on without coverage: a walk runs the same lines a million times, other tests cover them."""
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


def scales(page_size: int, seed: str) -> str:
    return SeededDice(f"scale {page_size} {seed}").pick(SCALES)


@pytest.mark.parametrize("block", range(max(1, WALK_STEPS // STEPS)))
async def test_a_walk_keeps_every_invariant(
    block: int, record_property: Callable[..., None]
) -> None:
    tally: Counter[str] = Counter()
    steps = 0
    setups = list(islice(cycle(product((4096, 4096, 16384, 65536), KernelProfile)), STORIES))

    replayed: list[Story] = []
    for number, (page_size, kernel) in enumerate(setups):
        seed = f"{SEED}/{block}/{number}"
        scale = scales(page_size, seed)
        with untraced():
            story = tell(SeededDice(seed), page_size, kernel, scale, STEPS_A_STORY)
        steps += len(story.actions)
        tally += story.tally
        tally[f"{page_size} {kernel.value}"] += len(story.actions)
        if number % (STORIES // REPLAYED) == block % (STORIES // REPLAYED):
            replayed.append(story)

    assert steps >= STEPS
    if not SEED and block < PROVEN_BLOCKS:
        assert [case for case in MUST_HAPPEN if not tally[case]] == []
    assert len([name for name in tally if name.endswith((" v1", " fixed"))]) == 6
    for story in replayed:
        await same_bytes_twice(story)
    record_property("walked_steps", steps)


async def same_bytes_twice(story: Story) -> None:
    """SameActionsSameBytes: byte-identical JSON from two applications, of the core's own machine."""
    first, second = await replay(story), await replay(story)

    assert first.answers == second.answers
    assert len(first.answers) >= 6
    core = story.both.core
    assert first.vm["counters"] == core.counters()
    assert first.clock == asdict(core.clock())
    assert [
        (view["workload_id"], view["writes"], view["skipped"]) for view in first.vm["workloads"]
    ] == [(view.workload_id, view.writes, view.skipped) for view in core.workloads()]
    assert [slot["dirty_count"] for slot in first.vm["memslots"]] == [
        slot.dirty_count for slot in core.memslots()
    ]
