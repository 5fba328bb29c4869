"""The interpreter is shared: threads give it back soon, and no collection goes over many objects."""

import asyncio
import gc
import sys
from collections.abc import Generator
from typing import Any

import pytest

from app.server import scheduling
from app.server.scheduling import SWITCH_SECONDS, share_interpreter, tend

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _as_before() -> Generator[None]:
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.fixture
def collected() -> Generator[list[int]]:
    """The generations that are collected meanwhile."""
    generations: list[int] = []

    def note(phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            generations.append(info["generation"])

    gc.callbacks.append(note)
    yield generations
    gc.callbacks.remove(note)


def test_all_objects_are_not_collected_by_themselves(collected: list[int]) -> None:
    share_interpreter()

    kept = [[number] for number in range(200_000)]

    assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    assert len(kept) == 200_000
    assert 1 in collected
    assert 2 not in collected


def test_few_objects_are_collected(monkeypatch: pytest.MonkeyPatch, collected: list[int]) -> None:
    monkeypatch.setattr(scheduling, "MAX_COLLECTED", 1 << 30)

    tend()

    assert collected == [2]
    assert gc.get_freeze_count() == 0


def test_many_objects_are_left_out_of_collections_and_freed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, collected: list[int]
) -> None:
    monkeypatch.setattr(scheduling, "MAX_COLLECTED", 0)
    kept = [[number] for number in range(1_000)]

    tend()

    frozen = gc.get_freeze_count()
    assert 2 not in collected
    assert frozen > 1_000
    del kept
    assert gc.get_freeze_count() <= frozen - 1_000


async def test_the_garbage_is_tended_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    done = asyncio.Queue[None]()
    monkeypatch.setattr(scheduling, "TEND_SECONDS", 0)
    monkeypatch.setattr(scheduling, "tend", lambda: done.put_nowait(None))

    tending = asyncio.create_task(scheduling.tend_always())

    await done.get()
    await done.get()
    tending.cancel()
