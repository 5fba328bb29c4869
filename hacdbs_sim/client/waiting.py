"""Waiting: timeouts, pauses between requests, and which state has been reached. No I/O."""

import re
import time
from typing import Final

from hacdbs_sim.client.errors import WaitTimeoutError
from hacdbs_sim.client.retrying import pauses
from hacdbs_sim.model import MigrationInfo

__tracebackhide__ = True

READY_SECONDS: Final = 30.0
WAIT_SECONDS: Final = 10.0
MIGRATION_SECONDS: Final = 60.0
POLL_SECONDS: Final = 20
"""How long one request waits at the service: less than the timeout of a request."""

_ORDER: Final = ("none", "setup", "active", "pre-switchover", "device", "postcopy-active")
_ITERATION: Final = re.compile(r"iteration-([0-9]+)\Z")


class Patience:
    """The pauses of one wait, each twice as long as the last, up to its end."""

    def __init__(self, timeout: float, what: str) -> None:
        self._what = what
        self._timeout = timeout
        self._ends_at = time.monotonic() + timeout
        self._pauses = pauses(0.01, 0.25)

    def pause(self, cause: Exception | None = None) -> float:
        """Return the next pause; raise `WaitTimeoutError` if the time is over."""
        return min(next(self._pauses), self._left(cause))

    def poll_seconds(self) -> int:
        """Return how long a request may wait at the service; raise as `pause` does."""
        return max(min(POLL_SECONDS, round(self._left(None))), 1)

    def _left(self, cause: Exception | None) -> float:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            end = "" if cause is None else f": {cause}"
            message = f"no {self._what} within {self._timeout:g} s{end}"
            raise WaitTimeoutError(message, cause) from None
        return left


def has_reached(info: MigrationInfo, wait_for: str) -> bool:
    """Whether a migration has reached a phase or an iteration, or has ended."""
    if info.is_over:
        return True
    if (match := _ITERATION.match(wait_for)) is not None:
        return len(info.iterations) >= int(match[1])
    if info.status == wait_for:
        return True
    if wait_for not in _ORDER or info.status not in _ORDER:
        return False
    return _ORDER.index(info.status) >= _ORDER.index(wait_for)
