"""The middleware before the routes: request id, log line, metrics, Host, Origin and token."""

import asyncio
import hmac
import itertools
import logging
import re
import secrets
import time
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from . import problems, ui
from .metrics import Metrics
from .responses import ProblemResponse

REQUEST_ID_HEADER: Final = "X-Request-Id"
INSTANCE_HEADER: Final = "Hacdbs-Instance"
TOKEN_FREE_PATHS: Final = frozenset({"/", "/livez", "/readyz"}) | ui.PATHS
KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE: Final = "none"
"""The metrics' label of requests that matched no route: paths must not become labels."""

CLIENT_GONE: Final = 499
"""The status recorded for a request whose client disconnected before it was complete."""

_SANE_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")


class ServiceMiddleware:
    """Middleware that guards an application, and logs and counts each request.

    `allowed_hosts` are lowercase, and `*` allows all; `token` is what clients must send, if any; `instance`
    names this start of the service, in each response.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        logger: FilteringBoundLogger,
        allowed_hosts: tuple[str, ...],
        token: str | None,
        instance: str,
    ) -> None:
        self._app = app
        self._instance_header = (INSTANCE_HEADER.lower().encode("ascii"), instance.encode("ascii"))
        self._metrics = metrics
        # Bound once: structlog's lazy logger is assembled again at each use
        self._logger = logger.bind()
        self._logs_requests = self._logger.is_enabled_for(logging.INFO)
        # An id must be unique, not hard to guess.
        self._id_prefix = secrets.token_hex(4)
        self._ids = itertools.count(1)
        self._allowed_hosts = frozenset(allowed_hosts)
        self._token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = self._request_id(headers)
        id_header = (REQUEST_ID_HEADER.lower().encode("ascii"), request_id.encode("ascii"))
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # A new list: the response's own may be kept for a retry
                message["headers"] = [*message["headers"], id_header, self._instance_header]
            await send(message)

        try:
            serve = self._refusal(scope, headers) or self._app
            await serve(scope, receive, send_with_id)
        except asyncio.CancelledError:
            if not scope["app"].context.is_stopping:
                raise
            # The server has waited long enough
            if not status:  # else it closes the connection
                await _stopped(scope)(scope, receive, send_with_id)
        except ClientDisconnect:
            status = status or CLIENT_GONE  # the client has gone: no response is sent
        except Exception:
            self._logger.exception("unhandled", request_id=request_id, path=scope["path"])
            if status:  # the response has started; only the server can abort it
                raise
            await _defect(scope)(scope, receive, send_with_id)
        finally:
            self._account(scope, request_id, status, time.perf_counter() - started)

    def _request_id(self, headers: Headers) -> str:
        given = headers.get(REQUEST_ID_HEADER, "")
        return given if _SANE_REQUEST_ID.match(given) else f"{self._id_prefix}{next(self._ids):08x}"

    def _refusal(self, scope: Scope, headers: Headers) -> ProblemResponse | None:
        path = scope["path"]
        if "*" not in self._allowed_hosts and _host_name(headers) not in self._allowed_hosts:
            detail = "the Host header must name one of HACDBS_ALLOWED_HOSTS"
            return ProblemResponse(problems.plain_document(problems.HOST_NOT_ALLOWED, detail, path))
        if "origin" in headers and not _is_same_origin(headers):
            detail = "a browser may call from the service's own pages only"
            return ProblemResponse(
                problems.plain_document(problems.ORIGIN_NOT_ALLOWED, detail, path)
            )
        if self._token is None or path in TOKEN_FREE_PATHS:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        # Compared in constant time, so that the time does not show how much of a guess was right
        is_same = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        if is_same and scheme.lower() == "bearer":
            return None
        detail = "Authorization must be: Bearer, and the service's token"
        challenge = {"WWW-Authenticate": 'Bearer realm="hacdbs-sim"'}
        return ProblemResponse(
            problems.plain_document(problems.UNAUTHORIZED, detail, path), challenge
        )

    def _account(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        method = scope["method"] if scope["method"] in KNOWN_METHODS else "other"
        self._metrics.observe(method, route, status, seconds)
        if self._logs_requests:
            self._logger.info(
                "request",
                request_id=request_id,
                method=method,
                route=route,
                status=status,
                duration_seconds=round(seconds, 6),
            )


def _stopped(scope: Scope) -> ProblemResponse:
    detail = "the service stops, and the call has not ended in time"
    return ProblemResponse(
        problems.plain_document(problems.SERVICE_STOPPED, detail, scope["path"]),
        {"Connection": "close"},
    )


def _defect(scope: Scope) -> ProblemResponse:
    detail = "a defect of the service; see its log"
    return ProblemResponse(problems.plain_document(problems.INTERNAL_ERROR, detail, scope["path"]))


def _host_name(headers: Headers) -> str:
    host = headers.get("host", "").lower()
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _is_same_origin(headers: Headers) -> bool:
    """Return whether a page of this service sent the request: browsers name its origin.

    Without this any web site could post to a service on its visitor's loopback: it would not see
    the answer, but a reset or a get needs none.
    """
    origins = headers.getlist("origin")
    authority = origins[0].lower().partition("://")[2]
    return len(origins) == 1 and authority == headers.get("host", "").lower()
