"""Work that is done to its end although the request that began it is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_working: set[asyncio.Task[Any]] = set()
"""The event loop itself has weak references only."""


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Do work and return its result; if the caller is cancelled, the work goes on."""
    task = asyncio.get_running_loop().create_task(work)
    _working.add(task)
    task.add_done_callback(_has_ended)
    try:
        return await asyncio.shield(task)
    finally:
        del task  # its exception refers to this frame: a circle would keep all that was sent


def _has_ended(task: asyncio.Task[Any]) -> None:
    _working.discard(task)
    retrieve(task)


def retrieve(future: asyncio.Future[Any]) -> None:
    """Take the exception of something that has ended: it is for the caller, who may be gone."""
    if not future.cancelled():
        future.exception()
