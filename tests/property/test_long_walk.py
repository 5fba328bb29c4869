"""Many steps on many machines against the scalar model, every invariant after each step.

The walks are spread over tests by seed, so that several workers share them (`walks.py`).
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

import pytest

from hacdbs_sim.model import ACTIONS, FaultType, UpdateVm
from tests.property.stories import counted_as
from tests.property.walks import BLOCKS, SEED, SETUPS, STEPS, story_of

NEVER_REFUSED: Final = ("TrackVersions", "NeedVersions", "DeleteFaults", "DeleteWorkloads")
CAPABILITIES: Final = tuple(f"UpdateVm {name}" for name in UpdateVm.one_of)
NAMES: Final = tuple(
    dict.fromkeys(
        name
        for kind in ACTIONS
        for name in (CAPABILITIES if kind is UpdateVm else (counted_as(kind),))
    ),
)
"""Actions as stories count them."""

MUST_HAPPEN: Final = (
    *(f"{name} done" for name in NAMES if name != "UpdateVm eager_split_chunk_size"),
    *(f"{name} refused" for name in NAMES if name not in NEVER_REFUSED),
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
"""CI's tests. Among the many of a long run one may miss a rare case by chance."""


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_walk_keeps_every_invariant(block: int, record_property: Callable[..., None]) -> None:
    counts: Counter[str] = Counter()
    steps = 0

    for number, (page_size, kernel) in enumerate(SETUPS):
        story = story_of(block, number)
        steps += len(story.actions)
        counts += story.counts
        counts[f"{page_size} {kernel.value}"] += len(story.actions)

    assert steps >= STEPS
    if not SEED and block < PROVEN_BLOCKS:
        assert [case for case in MUST_HAPPEN if not counts[case]] == []
    assert len([name for name in counts if name.endswith((" v1", " fixed"))]) == 6
    record_property("walked_steps", steps)
