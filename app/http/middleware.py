"""The middleware before the routes: request id, log line, metrics, framing, Host, Origin and token."""

import asyncio
import hmac
import itertools
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from hacdbs_sim.model import Problem
from hacdbs_sim.wire import Site, error_at

from ..settings import ANY_HOST, HOST_PATTERN
from . import problems, swagger, ui
from .long_poll import WAITS
from .metrics import Metrics
from .request_log import RequestLine, RequestLog, logged_path
from .responses import ProblemResponse
from .tracing import trace_id_of

REQUEST_ID_HEADER: Final = "X-Request-Id"
INSTANCE_HEADER: Final = "Hacdbs-Instance"
_REQUEST_ID: Final = REQUEST_ID_HEADER.lower().encode("ascii")
TOKEN_FREE_PATHS: Final = (
    frozenset({"/", "/livez", "/readyz", "/openapi.json"}) | ui.PATHS | swagger.PATHS
)
"""Paths of what is the same for everybody: a browser cannot send a token before a page asks for it."""
ANY_HOST_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""What an orchestrator and Prometheus call every few seconds, by an address that no setting can know."""

KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE: Final = "none"
"""The route of requests that matched no route and method: paths must not become labels or names."""

CLIENT_GONE: Final = 499
"""The status recorded for a request whose client disconnected before it was complete."""

SINGLE_HEADERS: Final = {
    name.lower().encode("ascii"): name
    for name in (
        "Host",
        "Content-Length",
        "Content-Type",
        "Transfer-Encoding",
        "Authorization",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "Last-Event-ID",
    )
}
"""Headers that a request has once: of two, a proxy and the service might each read another."""

GUARDS: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
"""Headers of each answer that has no other of the name: a browser neither frames, guesses nor keeps it."""

_GUARD_NAMES: Final = frozenset(name for name, _ in GUARDS)
_CHUNKED: Final = "chunked"
_HOST: Final = re.compile(rf"({HOST_PATTERN})(?::[0-9]{{0,5}})?\Z", re.ASCII)
"""A name or an address, in lowercase, and perhaps a port."""

_SANE_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")


Sent: TypeAlias = Mapping[bytes, bytes]
"""The headers of a request, by lowercase name: the last of each."""


class ServiceMiddleware:
    """Middleware that guards an application, and logs and counts each request.

    `allowed_hosts` are lowercase, and `*` allows all; `token` is what clients must send, if any; `instance`
    names this start of the service, in each response. Without a `request_log` no request is logged;
    `trace_id_of` finds the trace that a line names.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        logger: FilteringBoundLogger,
        request_log: RequestLog | None,
        allowed_hosts: tuple[str, ...],
        token: str | None,
        instance: str,
        trace_id_of: Callable[[Scope], str | None] = trace_id_of,
    ) -> None:
        self._app = app
        self._instance_header = (INSTANCE_HEADER.lower().encode("ascii"), instance.encode("ascii"))
        self._metrics = metrics
        self._logger = logger
        self._request_log = request_log
        self._trace_id_of = trace_id_of
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
        headers: Sent = dict(scope["headers"])
        request_id = self._request_id(headers)
        id_header = (_REQUEST_ID, request_id.encode("ascii"))
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # A new list: the response's own may be kept for a retry
                message["headers"] = [
                    *_guarded(message["headers"]),
                    id_header,
                    self._instance_header,
                ]
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
            pass  # no response is sent
        except Exception as error:
            self._log_defect(scope, request_id, error)
            if status:  # the response has started; only the server can abort it
                raise
            await _defect(scope)(scope, receive, send_with_id)
        finally:
            self._account(scope, request_id, status, time.perf_counter() - started)

    def _request_id(self, headers: Sent) -> str:
        given = headers.get(_REQUEST_ID, b"").decode("latin-1")
        return given if _SANE_REQUEST_ID.match(given) else f"{self._id_prefix}{next(self._ids):08x}"

    def _refusal(self, scope: Scope, headers: Sent) -> ProblemResponse | None:
        path = scope["path"]
        if (malformed := _malformed(scope, headers)) is not None:
            # What follows on the connection may not be what the client means
            return ProblemResponse(malformed, {"Connection": "close"})
        if (fault := self._fault_of_host(scope, headers)) is not None:
            return ProblemResponse(problems.plain_document(problems.HOST_NOT_ALLOWED, fault, path))
        if b"origin" in headers and not _is_same_origin(Headers(scope=scope)):
            detail = "a browser may call from the service's own pages only"
            return ProblemResponse(
                problems.plain_document(problems.ORIGIN_NOT_ALLOWED, detail, path)
            )
        if self._token is None or path in TOKEN_FREE_PATHS:
            return None
        if (fault := self._fault_of_token(headers)) is None:
            return None
        challenge = {"WWW-Authenticate": 'Bearer realm="hacdbs-sim"'}
        return ProblemResponse(
            problems.plain_document(problems.UNAUTHORIZED, fault, path), challenge
        )

    def _fault_of_token(self, headers: Sent) -> str | None:
        """Return what is wrong with the Authorization header; its value may be a secret."""
        authorization = headers.get(b"authorization", b"")
        scheme, _, given = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            sent = "another scheme" if authorization else "none"
            return f'Authorization must be "Bearer TOKEN"; {sent} was sent'
        assert self._token is not None, "asked where there is one"
        # Compared in constant time, so that the time does not show how much of a guess was right
        is_same = hmac.compare_digest(given.strip(), self._token)
        return None if is_same else "the token is not the service's"

    def _fault_of_host(self, scope: Scope, headers: Sent) -> str | None:
        """Return what is wrong with the Host header; a request of HTTP/1.0 may have none."""
        given = headers.get(b"host")
        allows_any = ANY_HOST in self._allowed_hosts or scope["path"] in ANY_HOST_PATHS
        if given is None:
            is_old = scope.get("http_version", "1.0") == "1.0"
            return None if allows_any and is_old else "a request names its Host"
        host = given.decode("latin-1").lower()
        found = _HOST.match(host)
        if found is None:
            return f"Host must be a name or an address, and perhaps a port (got {json.dumps(host[:64])})"
        if allows_any or found[1] in self._allowed_hosts:
            return None
        return f'the Host header must name one of HACDBS_ALLOWED_HOSTS (got "{found[1]}")'

    def _log_defect(self, scope: Scope, request_id: str, error: Exception) -> None:
        if self._request_log is not None:
            self._request_log.flush()  # the requests before it
        path = logged_path(scope["path"])
        self._logger.error("unhandled", request_id=request_id, path=path, exc_info=error)

    def _account(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        method, route = method_and_route(scope)
        is_served = route != NO_ROUTE
        status = status or CLIENT_GONE
        self._metrics.count(method, route, status)
        if is_served and WAITS not in scope:
            self._metrics.observe(method, route, seconds)
        if self._request_log is not None:
            more = {} if is_served else {"path": logged_path(scope["path"])}
            if (trace_id := self._trace_id_of(scope)) is not None:
                more["trace_id"] = trace_id
            self._request_log.add(RequestLine(request_id, method, route, status, seconds, more))


def method_and_route(scope: Scope) -> tuple[str, str]:
    """Return the method, and the template of the route that it found, of a request that was served."""
    method = scope["method"] if scope["method"] in KNOWN_METHODS else "other"
    found = scope.get("route")
    # FastAPI names the route of a path that has none for the method, too
    is_served = method in (getattr(found, "methods", None) or ())
    return method, getattr(found, "path", NO_ROUTE) if is_served else NO_ROUTE


def _stopped(scope: Scope) -> ProblemResponse:
    detail = "the service stops, and the call has not ended in time"
    return ProblemResponse(
        problems.plain_document(problems.SERVICE_STOPPED, detail, scope["path"]),
        {"Connection": "close"},
    )


def _defect(scope: Scope) -> ProblemResponse:
    detail = "a defect of the service; see its log"
    return ProblemResponse(problems.plain_document(problems.INTERNAL_ERROR, detail, scope["path"]))


def _guarded(given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    headers = [*given]
    names = {name for name, _ in headers}
    if names.isdisjoint(_GUARD_NAMES):  # an answer of the API
        return [*headers, *GUARDS]
    return [*headers, *(guard for guard in GUARDS if guard[0] not in names)]


def _malformed(scope: Scope, headers: Sent) -> Problem | None:
    """Return the problem of headers that two readers may read in two ways."""
    if len(headers) != len(scope["headers"]):
        names = [name for name, _ in scope["headers"]]
        for name, shown in SINGLE_HEADERS.items():
            if (count := names.count(name)) > 1:
                detail = f"{shown} is given {count} times, and a request has it once"
                return _bad_header(scope, shown, detail, bound=1, value=count)
    if (given := headers.get(b"transfer-encoding")) is None:
        return None
    coding = given.decode("latin-1")
    if coding.lower() != _CHUNKED:
        detail = "the service reads no other transfer coding than chunked"
    elif b"content-length" in headers:
        detail = "a body has a Content-Length or is chunked, not both"
    elif scope.get("http_version") == "1.0":
        detail = "HTTP/1.0 has no transfer codings"
    else:
        return None
    return _bad_header(scope, "Transfer-Encoding", detail, bound=_CHUNKED, value=coding)


def _bad_header(scope: Scope, name: str, detail: str, *, bound: object, value: object) -> Problem:
    error = error_at("header", name, detail, bound=bound, value=value)
    refusal = problems.Refusal(problems.BAD_REQUEST, detail, (error,))
    return problems.refusal_document(refusal, Site(scope["path"]))


def _is_same_origin(headers: Headers) -> bool:
    """Return whether a page of this service sent the request: browsers name its origin.

    Without this any web site could post to a service on its visitor's loopback: it would not see
    the answer, but a reset or a get needs none.
    """
    origins = headers.getlist("origin")
    authority = origins[0].lower().partition("://")[2]
    return len(origins) == 1 and authority == headers.get("host", "").lower()
