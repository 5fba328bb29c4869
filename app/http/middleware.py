"""What stands before the routes: request id, log line, metrics, Host, Origin and token.

Plain ASGI, one class, because every request passes here; the figure that matters is how little
it adds.
"""

import hmac
import itertools
import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from ..extensions import Exchange, exchange_of
from . import ui
from .metrics import Metrics
from .problems import (
    HOST_NOT_ALLOWED,
    INTERNAL_ERROR,
    ORIGIN_NOT_ALLOWED,
    UNAUTHORIZED,
    ProblemType,
    document,
)
from .raw_headers import BY_NAME, by_name
from .responses import ProblemResponse

REQUEST_ID_HEADER: Final = "X-Request-Id"
TOKEN_FREE_PATHS: Final = frozenset({"/", "/livez", "/readyz"}) | ui.PATHS
KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE: Final = "none"
"""The metrics' label of requests that matched no route: paths must not become labels."""

CLIENT_GONE: Final = 499
"""The status under which a request is accounted whose caller left before it was all there."""

_REQUEST_ID_NAME: Final = REQUEST_ID_HEADER.lower().encode("ascii")
_SANE_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,64}\Z")


class _WayOut:
    """The way of one answer out: it gets the request's id there, and its status is noted."""

    __slots__ = ("_exchange", "_id", "_send", "_status")

    def __init__(self, request_id: bytes, exchange: Exchange | None, send: Send) -> None:
        self._id = (_REQUEST_ID_NAME, request_id)
        self._send = send
        self._status = 0
        self._exchange = exchange
        if exchange is not None:
            exchange.more_headers = (self._id,)

    @property
    def status(self) -> int:
        """Value of the answer's status, 0 before it has begun."""
        return self._status or (self._exchange.status if self._exchange else 0)

    def begin(self, status: int) -> None:
        """Note the status, if none has been."""
        self._status = self.status or status

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.begin(message["status"])
            # A new list: that of the response may be kept for a retry.
            message["headers"] = [*message["headers"], self._id]
        await self._send(message)


class Gate:
    """Guards an application and accounts for each request.

    Args:
        app: What to guard.
        metrics: Where requests are counted.
        logger: Where each request leaves a line.
        allowed_hosts: Names that the Host header may hold, lowercase; `*` allows all.
        token: What callers must carry, if anything.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        logger: FilteringBoundLogger,
        allowed_hosts: tuple[str, ...],
        token: str | None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        # Bound once: the lazy logger that structlog makes is looked into at each use.
        self._logger = logger.bind()
        self._logs_requests = self._logger.is_enabled_for(logging.INFO)
        # An id has to be told from others, not to be kept from guessing.
        self._id_prefix = secrets.token_hex(4).encode("ascii")
        self._ids = itertools.count(1)
        self._allowed_hosts = frozenset(allowed_hosts)
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = scope[BY_NAME] = by_name(scope)
        request_id = headers.get(_REQUEST_ID_NAME, b"")
        if not _SANE_REQUEST_ID.match(request_id):
            request_id = b"%s%08x" % (self._id_prefix, next(self._ids))
        out = _WayOut(request_id, exchange_of(scope), send)
        try:
            refusal = self._refusal(scope, headers)
            if refusal is None:
                await self._app(scope, receive, out.send)
            else:
                await refusal(scope, receive, out.send)
        except ClientDisconnect:
            out.begin(CLIENT_GONE)  # nobody is left to answer
        except Exception:
            self._logger.exception("unhandled", request_id=request_id.decode(), path=scope["path"])
            if out.status:  # the answer has begun; only the server can still break it off
                raise
            await _problem(scope, INTERNAL_ERROR, "a defect of the service; see its log")(
                scope, receive, out.send
            )
        finally:
            self._account(scope, request_id, out.status, time.perf_counter() - started)

    def _refusal(self, scope: Scope, headers: Mapping[bytes, bytes]) -> ProblemResponse | None:
        if "*" not in self._allowed_hosts and _host_name(headers) not in self._allowed_hosts:
            return _problem(
                scope, HOST_NOT_ALLOWED, "the Host header must name one of HACDBS_ALLOWED_HOSTS"
            )
        if b"origin" in headers and not _is_same_origin(scope, headers):
            return _problem(
                scope, ORIGIN_NOT_ALLOWED, "a browser may call from the service's own pages only"
            )
        if self._token is None or scope["path"] in TOKEN_FREE_PATHS:
            return None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        # Compared in constant time, so that answers do not tell how much of a guess was right.
        if hmac.compare_digest(given.strip(), self._token) and scheme.lower() == b"bearer":
            return None
        return _problem(
            scope,
            UNAUTHORIZED,
            "Authorization must be: Bearer, and the service's token",
            {"WWW-Authenticate": 'Bearer realm="hacdbs-sim"'},
        )

    def _account(self, scope: Scope, request_id: bytes, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        method = scope["method"] if scope["method"] in KNOWN_METHODS else "other"
        self._metrics.observe(method, route, status, seconds)
        if self._logs_requests:
            self._logger.info(
                "request",
                request_id=request_id.decode("ascii"),
                method=method,
                route=route,
                status=status,
                duration_seconds=round(seconds, 6),
            )


def _host_name(headers: Mapping[bytes, bytes]) -> str:
    host = str(headers.get(b"host", b""), "latin-1").lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _is_same_origin(scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a page of this service sent the request: browsers say where it comes from.

    Without this any web site could post to a service on its visitor's loopback: it would not see
    the answer, but a reset or a get needs none.
    """
    origins = [value for name, value in scope["headers"] if name == b"origin"]
    authority = origins[0].lower().partition(b"://")[2]
    return len(origins) == 1 and authority == headers.get(b"host", b"").lower()


def _problem(
    scope: Scope, problem: ProblemType, detail: str, headers: Mapping[str, str] | None = None
) -> ProblemResponse:
    return ProblemResponse(
        document(problem, detail, scope["path"]), problem.status, dict(headers or {})
    )
