"""A process that asks a service for its health on a steady schedule, and how long each answer took.

No request waits for the one before, so each shows how long the service held it up, and nothing else. That
the prober itself wakes up late counts for nothing.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

from tests.support.wire import AsyncCalls

INTERVAL_SECONDS: Final = 0.004
PATH: Final = "/readyz"


@dataclass(frozen=True, slots=True)
class Prober:
    """A prober that runs."""

    pipe: Connection

    def take(self) -> list[float]:
        """Return the seconds that each request has taken since the last time."""
        self.pipe.send(None)
        taken: list[float] = self.pipe.recv()
        return taken


async def _probe(url: str, pipe: Connection) -> None:
    taken: list[float] = []
    free: list[AsyncCalls] = []
    asking: set[asyncio.Task[None]] = set()

    async def ask(asked: float) -> None:
        calls = free.pop() if free else await AsyncCalls(url).__aenter__()
        await calls.get(PATH)
        taken.append(time.perf_counter() - asked)
        free.append(calls)

    due = time.perf_counter()
    while True:
        await asyncio.sleep(max(due - time.perf_counter(), 0.0))
        asked = time.perf_counter()
        task = asyncio.create_task(ask(asked))
        asking.add(task)
        task.add_done_callback(asking.discard)
        due = asked + INTERVAL_SECONDS
        if pipe.poll():
            try:
                pipe.recv()
            except EOFError:
                return
            await asyncio.gather(*asking)
            pipe.send(taken.copy())
            taken.clear()


def _run(url: str, pipe: Connection) -> None:
    asyncio.run(_probe(url, pipe))


@contextmanager
def probing(url: str) -> Generator[Prober]:
    """Run a prober of a service in a process of its own."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_run, args=(url, there), daemon=True
    )
    process.start()
    there.close()
    try:
        prober = Prober(here)
        prober.take()
        yield prober
    finally:
        process.kill()
        process.join()
        here.close()
