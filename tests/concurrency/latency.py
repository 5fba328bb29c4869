"""How long small calls take while the service is busy, measured from a process of its own.

A process of its own, so that what the busy callers do with their answers is not measured.
"""

import multiprocessing
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final

from tests.support.wire import Calls

PAUSE_SECONDS: Final = 0.001
FAULT: Final = {"type": "ipaf", "enabled": False}


@dataclass(slots=True)
class Latencies:
    """Seconds that calls took, by kind."""

    ready: list[float] = field(default_factory=list)
    faults: list[float] = field(default_factory=list)


def _timed(calls: Calls, times: list[float], method: str, path: str, body: object = None) -> bytes:
    began = time.perf_counter()
    answer = calls.call(method, path, body)
    times.append(time.perf_counter() - began)
    assert answer.status < 300, answer
    return answer.content


def _watch(url: str, vm: str, pipe: Connection) -> None:
    latencies = Latencies()
    with Calls(url) as calls:
        pipe.send(None)
        while not pipe.poll():
            _timed(calls, latencies.ready, "GET", "/readyz")
            armed = calls.made("POST", f"{vm}/faults", FAULT)
            fault = f"{vm}/faults/{armed['fault_id']}"
            _timed(calls, latencies.faults, "GET", fault)
            _timed(calls, latencies.faults, "GET", f"{vm}/faults")
            _timed(calls, latencies.faults, "DELETE", fault)
            _timed(calls, latencies.faults, "POST", f"{vm}/faults", FAULT)
            _timed(calls, latencies.faults, "DELETE", f"{vm}/faults")
            time.sleep(PAUSE_SECONDS)
    pipe.send(latencies)


@contextmanager
def watching(url: str, vm: str) -> Generator[Latencies]:
    """Measure health checks and fault calls of one VM until the block ends; filled in then."""
    latencies = Latencies()
    here, there = multiprocessing.Pipe()
    watcher = multiprocessing.get_context("spawn").Process(
        target=_watch, args=(url, vm, there), daemon=True
    )
    watcher.start()
    try:
        here.recv()  # it has begun
        yield latencies
        here.send(None)
        seen = here.recv()
        latencies.ready, latencies.faults = seen.ready, seen.faults
    finally:
        watcher.join(5)
        watcher.kill()
