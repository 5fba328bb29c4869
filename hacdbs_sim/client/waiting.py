"""How to wait for something: how long, and how often to look."""

import time
from typing import Final

from hacdbs_sim.client.errors import ClientError, ConflictError, TransportError, WaitTimeoutError

READY_SECONDS: Final = 30.0
WAIT_SECONDS: Final = 10.0
FIRST_PAUSE_SECONDS: Final = 0.01
LONGEST_PAUSE_SECONDS: Final = 0.25


class Patience:
    """The pauses of one wait, each twice as long as the last, up to its end."""

    def __init__(self, timeout: float, what: str) -> None:
        self._what = what
        self._timeout = timeout
        self._ends_at = time.monotonic() + timeout
        self._pause = FIRST_PAUSE_SECONDS

    def pause(self, cause: Exception | None = None) -> float:
        """Give the next pause.

        Raises:
            WaitTimeoutError: The time is over.
        """
        left = self._ends_at - time.monotonic()
        if left <= 0:
            told = "" if cause is None else f": {cause}"
            raise WaitTimeoutError(f"no {self._what} within {self._timeout:g} s{told}") from cause
        pause = min(self._pause, left)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return pause


def is_not_ready(error: ClientError) -> bool:
    """Tell whether a service that fails so may still become ready."""
    if isinstance(error, ConflictError):
        return error.code == "not_ready"
    return isinstance(error, TransportError)
