"""A router that finds a route by method and path in a tree of segments, and calls its handler.

FastAPI matches a path against one route after the other and wraps each call in exit stacks and
exception handlers: 30 to 35 us of CPU time, as much as a get of a clean dirty log takes without
them. Requests that match no route here are left to FastAPI: its own routes, and paths and
methods that are refused.

Limits of these routes:

* A segment of a path is a name or a whole parameter, without convertors such as `{name:path}`.
* Only refusals are rendered, not the exceptions of `app.add_exception_handler`.
* There is no exit stack, so dependencies cannot `yield`.
* FastAPI's telemetry spans do not have the route's name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from .problems import NO_SUCH_PATH, plain_document
from .rendering import REFUSALS, refusal_response
from .responses import ProblemResponse
from .routing import Handler, StrictRoute


@dataclass(slots=True)
class _Step:
    """A prefix of some paths: the segments that may follow, and the routes that end here, by method.

    Names follow, or a parameter; with both, the order of the routes would decide. A parameter is not
    empty, so the end of a path after a slash may be there too.
    """

    named: dict[str, "_Step"] = field(default_factory=dict)
    parameter: "_Step | None" = None
    ends: dict[str, tuple[StrictRoute, Handler, tuple[str, ...]]] = field(default_factory=dict)

    def add(self, segment: str) -> "_Step":
        if not segment.startswith("{"):
            assert self.parameter is None or not segment, f"{segment} conflicts with a parameter"
            return self.named.setdefault(segment, _Step())
        assert not any(self.named), f"{segment} conflicts with names"
        self.parameter = self.parameter or _Step()
        return self.parameter


def _segments(scope: Scope) -> list[str]:
    """Split a path where it has slashes; an encoded one (%2F) is part of a name (RFC 3986, 2.2)."""
    if b"%" in (raw_path := _raw_path(scope)):
        return [unquote(segment) for segment in raw_path.decode("latin-1").split("/")]
    path: str = scope["path"]
    return path.split("/")


def _raw_path(scope: Scope) -> bytes:
    return scope.get("raw_path") or b""


def _has_encoded_slash(scope: Scope) -> bool:
    return b"%2f" in _raw_path(scope).lower()


async def _refuse_path(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a path that FastAPI would take for another, because it matches the decoded text."""
    detail = "nothing is served at this path; %2F separates nothing"
    problem = plain_document(NO_SUCH_PATH, detail, scope["path"])
    await ProblemResponse(problem)(scope, receive, send)


class PathRouter:
    """Middleware that serves the given routes, and leaves other requests to the application."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[object]) -> None:
        self._app = app
        self._root = _Step()
        for route in routes:
            assert isinstance(route, StrictRoute)
            step = self._root
            for segment in route.path.split("/"):
                step = step.add(segment)
            served = (route, route.get_route_handler(), tuple(route.param_convertors))
            for method in route.methods or ():
                step.ends.setdefault(method, served)

    def _find(self, scope: Scope) -> Handler | None:
        """Return the handler of a request, and set its scope as FastAPI's router would."""
        step = self._root
        given = []
        for segment in _segments(scope):
            following = step.named.get(segment)
            if step.parameter is not None and segment:
                following = step.parameter
                given.append(segment)
            if following is None:
                return None
            step = following
        if (found := step.ends.get(scope["method"])) is None:
            return None
        route, handle, names = found
        scope["route"] = route
        scope["endpoint"] = route.endpoint
        scope["path_params"] = dict(zip(names, given, strict=True))
        return handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        is_plain = scope["type"] == "http" and not scope.get("root_path")
        handle = self._find(scope) if is_plain else None
        if handle is None:
            is_ours = scope["type"] == "http" and _has_encoded_slash(scope)
            await (_refuse_path if is_ours else self._app)(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            response = await handle(request)
        except REFUSALS as refused:
            response = refusal_response(request, refused)
        await response(scope, receive, send)
