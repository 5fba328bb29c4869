"""An event loop whose schedule a seed decides: what becomes ready together runs in any order.

Nothing runs beside it: a call for a worker thread is a step of the schedule, and its result arrives at
another. Time is virtual: it passes when nothing else is left to do.
"""

import asyncio
import heapq
from asyncio import base_events
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, Final

from typing_extensions import override

WORKERS: Final = 2
"""Calls that are in threads at a time; the others wait, as behind a full executor."""


class HangError(Exception):
    """Nothing is left to do, and what was to be done has not ended."""


def _settle(settle: Callable[[Any], None], future: asyncio.Future[Any], outcome: Any) -> None:
    if not future.done():
        settle(outcome)


class ScheduledLoop(base_events.BaseEventLoop):
    """Runs callbacks and the calls of threads in an order that `random` chooses."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random
        self._now = 0.0
        self._calls: list[Callable[[], None]] = []
        self._results: list[Callable[[], None]] = []
        self.steps = 0

    @override
    def time(self) -> float:
        return self._now

    @override
    def run_in_executor(  # type: ignore[override]
        self, executor: None, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()

        def call() -> None:
            try:
                result = func(*args)
            except BaseException as error:  # noqa: BLE001 - the future passes it to the task that waits
                self._results.append(partial(_settle, future.set_exception, future, error))
            else:
                self._results.append(partial(_settle, future.set_result, future, result))

        self._calls.append(call)
        return future

    def _write_to_self(self) -> None:
        """Do nothing: there is no selector to wake, and no other thread."""

    def _run_once(self) -> None:
        self.steps += 1
        ready: Any = self._ready  # type: ignore[attr-defined]
        calls = min(len(self._calls), max(WORKERS - len(self._results), 0))
        chosen = self._random.randrange(max(len(ready) + calls + len(self._results), 1))
        if chosen < len(ready):
            handle = ready[chosen]
            del ready[chosen]
            if not handle.cancelled():
                handle._run()
        elif (chosen := chosen - len(ready)) < calls:
            self._calls.pop(chosen)()
        elif self._results:
            self._results.pop(chosen - calls)()
        else:
            self._let_time_pass()

    def _let_time_pass(self) -> None:
        scheduled: Any = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0].cancelled():
            heapq.heappop(scheduled)._scheduled = False
        if not scheduled:
            if self._stopping:  # type: ignore[attr-defined]
                return
            raise HangError
        timer = heapq.heappop(scheduled)
        timer._scheduled = False
        self._now = max(self._now, timer.when())
        self._ready.append(timer)  # type: ignore[attr-defined]
