"""Refusals on their way out: each exception becomes its problem document."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from .problems import (
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    NO_SUCH_PATH,
    plain_document,
)
from .rendering import REFUSALS, AnyRefusal, refusal_response
from .responses import ProblemResponse

if TYPE_CHECKING:
    from re import Pattern


async def refuse(request: Request, error: Exception) -> Response:
    """Return the response to a refusal."""
    return refusal_response(request, cast("AnyRefusal", error))


class RoutingRefusals:
    """Responds to refusals of the router: unknown path or method."""

    def __init__(self, app: FastAPI) -> None:
        self._paths: list[tuple[Pattern[str], frozenset[str]]] = [
            (compile_path(context.path)[0], frozenset(context.methods))
            for context in iter_route_contexts(app.routes)
            if context.path is not None and context.methods is not None
        ]

    def _allowed(self, path: str) -> Iterable[str]:
        """Return all methods of a path; a framework's 405 names those of its first route only."""
        return sorted({m for regex, methods in self._paths if regex.match(path) for m in methods})

    async def __call__(self, request: Request, error: Exception) -> Response:
        """Return the response to a refusal of the router."""
        refused = cast("HTTPException", error)
        path = request.scope["path"]
        if refused.status_code == METHOD_NOT_ALLOWED.status:
            allow = ", ".join(self._allowed(path))
            out = plain_document(METHOD_NOT_ALLOWED, f"the path has the methods {allow}", path)
            return ProblemResponse(out, {"Allow": allow})
        if refused.status_code == NO_SUCH_PATH.status:
            out = plain_document(NO_SUCH_PATH, "nothing is served at this path", path)
        else:
            out = plain_document(BAD_REQUEST, str(refused.detail), path)
        return ProblemResponse(out)


def install(app: FastAPI) -> None:
    """Install the renderers of all refusals in an application whose routes are complete."""
    for kind in REFUSALS:
        app.add_exception_handler(kind, refuse)
    app.add_exception_handler(HTTPException, RoutingRefusals(app))
