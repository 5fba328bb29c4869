"""A process that asks a service for its health on a steady schedule, and how long each answer took.

A request that the service holds up delays those behind it: they count from the moment at which they were
due. That the prober itself wakes up late counts for nothing.
"""

import multiprocessing
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

from tests.support.wire import Calls

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


def _probe(url: str, pipe: Connection) -> None:
    taken: list[float] = []
    with Calls(url) as calls:
        calls.made("GET", PATH)
        due = time.perf_counter()
        while True:
            if (ahead := due - time.perf_counter()) > 0:
                time.sleep(ahead)
                due = time.perf_counter()
            calls.made("GET", PATH)
            taken.append(time.perf_counter() - due)
            due += INTERVAL_SECONDS
            if pipe.poll():
                try:
                    pipe.recv()
                except EOFError:
                    return
                pipe.send(taken)
                taken = []


@contextmanager
def probing(url: str) -> Generator[Prober]:
    """Run a prober of a service in a process of its own."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_probe, args=(url, there), daemon=True
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
