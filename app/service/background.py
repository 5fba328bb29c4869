"""Work in the background: it goes on although the request that began it is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """The work that goes on by itself, until the service stops; used on the event loop only."""

    def __init__(self) -> None:
        # The event loop itself has weak references only
        self._tasks: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin work for which nobody needs to wait."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._has_ended)
        return task

    async def to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work and return its result; if the caller is cancelled, the work goes on."""
        task = self.begin(work)
        try:
            return await asyncio.shield(task)
        finally:
            del task  # its exception refers to this frame: a circle would keep all that was sent

    def _has_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        retrieve(task)

    async def stop(self) -> None:
        """Cancel all work, and wait until it has ended: the service stops."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def retrieve(future: asyncio.Future[Any]) -> None:
    """Take the exception of something that has ended: it is for the caller, who may be gone."""
    if not future.cancelled():
        future.exception()
