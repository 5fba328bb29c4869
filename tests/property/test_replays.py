"""SameActionsSameBytes: stories of the long walks, repeated over HTTP, twice."""

from dataclasses import asdict
from typing import Final

import pytest

from tests.property.replaying import replay
from tests.property.stories import Story
from tests.property.walks import BLOCKS, STORIES, story_of

pytestmark = pytest.mark.anyio

REPLAYED: Final = 4
"""Stories of each block that are repeated."""

EVERY: Final = STORIES // REPLAYED


@pytest.mark.parametrize("block", range(BLOCKS))
async def test_the_same_actions_return_the_same_bytes(block: int) -> None:
    for number in range(block % EVERY, STORIES, EVERY):
        await same_bytes_twice(story_of(block, number))


async def same_bytes_twice(story: Story) -> None:
    """Byte-identical JSON from two applications, of the core's own machine."""
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
