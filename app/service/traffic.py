"""The bytes that requests in flight may hold together: bodies, what is made of them, and answers.

A request takes its bytes before it reads a body or makes an answer, and returns them once the answer is
sent. All of it is an estimate, from above. Used on the event loop only.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from .errors import RequestTooLargeError, TrafficLimitError

WAIT_SECONDS: Final = 10.0
"""How long a request waits for room, at each time that it takes bytes."""

SMALL_SHARE: Final = 64
"""A request that holds no more than one part in this many of the limit is small."""

KEPT_FOR_SMALL: Final = 4
"""Large requests leave one part in this many of the limit to small ones."""


@dataclass(slots=True, eq=False)
class _Waiter:
    hold: "Hold"
    wanted_bytes: int
    admitted: asyncio.Future[None]


class TrafficBudget:
    """A limit on the bytes of requests in flight; large ones never keep small ones out."""

    def __init__(self, limit_bytes: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self.wait_seconds = wait_seconds
        self._small_bytes = limit_bytes // SMALL_SHARE
        self._waiters: list[_Waiter] = []

    @property
    def largest_bytes(self) -> int:
        """The most bytes that one request may hold."""
        return self.limit_bytes - self.limit_bytes // KEPT_FOR_SMALL

    @property
    def waiting(self) -> int:
        """The number of requests that wait for room."""
        return len(self._waiters)

    def gives(self, hold: "Hold", wanted_bytes: int) -> bool:
        """Return whether a request may hold so many bytes at once.

        A large one that begins waits behind the large ones that wait. One that goes on does not: they may
        wait for what it holds.
        """
        begins_large = wanted_bytes > self._small_bytes and not hold.held_bytes
        has_queue = begins_large and any(
            waiter.wanted_bytes > self._small_bytes for waiter in self._waiters
        )
        return not has_queue and self._has_room(hold, wanted_bytes)

    def _has_room(self, hold: "Hold", wanted_bytes: int) -> bool:
        limit = self.limit_bytes if wanted_bytes <= self._small_bytes else self.largest_bytes
        return self.used_bytes - hold.held_bytes + wanted_bytes <= limit

    def move(self, hold: "Hold", held_bytes: int) -> None:
        """Replace the bytes of a request, and admit those that wait for what it returns."""
        more_bytes = held_bytes - hold.held_bytes
        self.used_bytes += more_bytes
        hold.held_bytes = held_bytes
        if more_bytes < 0 and self._waiters:
            self._admit()

    def _admit(self) -> None:
        """Admit in order of arrival; small requests pass a large one that does not fit yet.

        So do large ones that go on: the one before them may wait for what they hold.
        """
        blocks_large = False
        for waiter in tuple(self._waiters):
            if waiter.admitted.done():  # it gave up just now
                continue
            is_large = waiter.wanted_bytes > self._small_bytes
            begins_large = is_large and not waiter.hold.held_bytes
            has_room = self._has_room(waiter.hold, waiter.wanted_bytes)
            if (begins_large and blocks_large) or not has_room:
                blocks_large |= is_large
                continue
            self._waiters.remove(waiter)
            self.move(waiter.hold, waiter.wanted_bytes)
            waiter.admitted.set_result(None)

    async def wait(self, hold: "Hold", wanted_bytes: int) -> None:
        """Wait until a request has been given its bytes (TimeoutError after a while)."""
        waiter = _Waiter(hold, wanted_bytes, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self.wait_seconds):
                await waiter.admitted
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._admit()  # those behind it may fit


class Hold:
    """One request's share of the budget."""

    def __init__(self, budget: TrafficBudget) -> None:
        self._budget = budget
        self.held_bytes = 0

    async def take(self, wanted_bytes: int) -> None:
        """Hold so many bytes from now on, in place of those held before; wait for room.

        Raises:
            RequestTooLargeError: One request may never hold so many.
            TrafficLimitError: There was no room for a while.
        """
        budget = self._budget
        if wanted_bytes <= self.held_bytes or budget.gives(self, wanted_bytes):
            budget.move(self, wanted_bytes)
            return
        if wanted_bytes > budget.largest_bytes:
            raise RequestTooLargeError(
                f"the request would take {wanted_bytes} bytes,"
                f" HACDBS_MAX_TRAFFIC_BYTES={budget.limit_bytes} allows one {budget.largest_bytes}",
                bound=budget.largest_bytes,
                value=wanted_bytes,
            )
        try:
            await budget.wait(self, wanted_bytes)
        except TimeoutError:
            raise TrafficLimitError(
                f"requests in flight hold {budget.used_bytes} bytes and this one would take"
                f" {wanted_bytes}, HACDBS_MAX_TRAFFIC_BYTES allows {budget.limit_bytes};"
                f" it has waited {budget.wait_seconds:g} s",
                bound=budget.limit_bytes,
                value=wanted_bytes,
            ) from None

    async def take_more(self, more_bytes: int) -> None:
        """Hold more bytes from now on; raises as `take` does."""
        await self.take(self.held_bytes + more_bytes)

    def keep(self, held_bytes: int) -> None:
        """Hold what is there already, whether it fits or not."""
        self._budget.move(self, held_bytes)

    def close(self) -> None:
        """Return all bytes."""
        self._budget.move(self, 0)
