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

    async def ask(asked: float) -> None:
        calls = free.pop() if free else await AsyncCalls(url).__aenter__()
        await calls.get(PATH)
        taken.append(time.perf_counter() - asked)
        free.append(calls)

    while True:
        async with asyncio.TaskGroup() as asking:  # its end waits for all answers
            while True:
                asked = time.perf_counter()
                asking.create_task(ask(asked))
                await asyncio.sleep(INTERVAL_SECONDS - (time.perf_counter() - asked))
                if pipe.poll():
                    break
        try:
            pipe.recv()
        except EOFError:
            return
        pipe.send(taken)
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
