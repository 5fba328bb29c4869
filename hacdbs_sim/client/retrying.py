"""When a request is sent again. No I/O."""

from collections.abc import Iterator
from typing import Final

import httpx

from hacdbs_sim.client.errors import (
    NotFoundError,
    ServiceRestartedError,
    TransportError,
    refusal_of,
)
from hacdbs_sim.client.request import KEY_HEADER, name_of

__tracebackhide__ = True

RETRIES: Final = 3
IN_FLIGHT: Final = "idempotency_key_in_flight"
IN_FLIGHT_SECONDS: Final = 30.0
"""How long to wait for the service to finish the first request with a key."""

INSTANCE_HEADER: Final = "Hacdbs-Instance"


class Instance:
    """The start of the service that a client has seen; a service before 0.3 names none."""

    def __init__(self) -> None:
        self._seen = ""

    def check(self, response: httpx.Response) -> None:
        """Take the first instance that answers.

        Raises:
            ServiceRestartedError: Another one has answered before.
        """
        now = response.headers.get(INSTANCE_HEADER, self._seen)
        if self._seen and now != self._seen:
            raise ServiceRestartedError(name_of(response.request), self._seen, now)
        self._seen = now

    def accept_next(self) -> None:
        """Accept the next instance that answers."""
        self._seen = ""


# Nothing of the request was sent
_UNSENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# A second try cannot succeed: the request itself is impossible
_HOPELESS: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


def pauses(first: float = 0.05, longest: float = 1.0) -> Iterator[float]:
    """Yield pauses in seconds, each twice as long as the last, up to the longest."""
    while True:
        yield first
        first = min(first * 2, longest)


class Attempts:
    """The attempts to send one request, up to a response that ends them."""

    def __init__(
        self,
        request: httpx.Request,
        retries: int = RETRIES,
        in_flight_seconds: float = IN_FLIGHT_SECONDS,
    ) -> None:
        self._request = request
        self._retries_left = retries
        self._in_flight_seconds = in_flight_seconds
        self._pauses = pauses()
        self._pauses_in_flight = pauses()
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
            and (is_unsent or _is_repeatable(self._request))
        )
        if not may_retry or self._retries_left <= 0:
            call = name_of(self._request)
            # Its frames, all of libraries, would hide the line of a test that fails
            raise TransportError(call, error, may_be_done=self._may_be_done) from None
        self._retries_left -= 1
        return next(self._pauses)

    def responded(self, response: httpx.Response) -> float | None:
        """Count a response; return the pause before the next attempt, or None if it is the last.

        Raises:
            ProblemError: The service refused the request.
        """
        if response.is_success:
            return None
        refusal = refusal_of(name_of(self._request), response)
        if (
            self._request.method == "DELETE"
            and self._may_be_done
            and isinstance(refusal, NotFoundError)
        ):
            return None  # an earlier attempt was served
        if refusal.code != IN_FLIGHT or self._in_flight_seconds <= 0:
            raise refusal
        pause = next(self._pauses_in_flight)
        self._in_flight_seconds -= pause
        return pause


def _is_repeatable(request: httpx.Request) -> bool:
    """Whether the request may be sent again although the first one may have been served.

    With a precondition the second could be refused because of what the first one did, as if
    another client had changed the object.
    """
    if request.method == "POST":
        return KEY_HEADER in request.headers
    return not ("If-Match" in request.headers or "If-None-Match" in request.headers)
