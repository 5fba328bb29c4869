"""When a request is sent again. No I/O."""

from dataclasses import dataclass
from typing import Final

import httpx

from hacdbs_sim.client.errors import NotFoundError, ProblemError, TransportError, refusal_of
from hacdbs_sim.client.request import Request

__tracebackhide__ = True

RETRIES: Final = 3
IN_FLIGHT: Final = "idempotency_key_in_flight"

# Nothing of the request was sent
_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# A second try cannot succeed: the request itself is impossible
_HOPELESS: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


@dataclass(frozen=True, slots=True)
class Retrying:
    """Limits of retries.

    Attributes:
        retries: Requests after the first, if there is no response.
        in_flight_seconds: How long to wait for the service to finish the first request with a key.
        first_pause_seconds: The pause before the first retry; each later one is twice as long.
        longest_pause_seconds: The longest pause.
    """

    retries: int = RETRIES
    in_flight_seconds: float = 30.0
    first_pause_seconds: float = 0.05
    longest_pause_seconds: float = 1.0

    def pause(self, number: int) -> float:
        """Return the pause before a retry, counted from 0."""
        return min(self.first_pause_seconds * (1 << min(number, 30)), self.longest_pause_seconds)


class Attempts:
    """The attempts to send one request, up to a response that ends them."""

    def __init__(self, request: Request, retrying: Retrying) -> None:
        self._request = request
        self._retrying = retrying
        self._losses = 0
        self._refusals_in_flight = 0
        self._waited_seconds = 0.0
        self._may_be_done = False

    def lost(self, error: httpx.RequestError) -> float:
        """Count an attempt without a response, and return the pause before the next one.

        Raises:
            TransportError: This was the last attempt.
        """
        is_unsent = isinstance(error, _UNSENT + _HOPELESS)
        self._may_be_done = self._may_be_done or not is_unsent
        may_retry = (
            isinstance(error, httpx.TransportError)
            and not isinstance(error, _HOPELESS)
            and (is_unsent or self._request.is_repeatable)
        )
        if not may_retry or self._losses >= self._retrying.retries:
            raise TransportError(
                str(self._request), error, may_be_done=self._may_be_done
            ) from error
        self._losses += 1
        return self._retrying.pause(self._losses - 1)

    def responded(self, response: httpx.Response) -> float | None:
        """Count a response; return the pause before the next attempt, or None if it is the last.

        Raises:
            ProblemError: The service refused the request.
        """
        if response.is_success:
            return None
        refusal = refusal_of(str(self._request), response)
        if self._is_deleted_already(refusal):
            return None
        if refusal.code != IN_FLIGHT or self._waited_seconds >= self._retrying.in_flight_seconds:
            raise refusal
        pause = self._retrying.pause(self._refusals_in_flight)
        self._refusals_in_flight += 1
        self._waited_seconds += pause
        return pause

    def _is_deleted_already(self, refusal: ProblemError) -> bool:
        """Whether a DELETE returned 404 because an earlier attempt was served."""
        return (
            self._request.method == "DELETE"
            and self._may_be_done
            and isinstance(refusal, NotFoundError)
        )
