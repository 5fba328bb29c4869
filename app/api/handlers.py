"""Refusals on their way out: each exception becomes its problem document."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from app.api.problems import (
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    NO_SUCH_PATH,
    Refusal,
    Site,
    document,
    kvm_document,
    refusal_document,
)
from app.api.responses import ProblemResponse
from app.api.routing import takes_body
from app.fleet.errors import SetupRefusedError
from app.sim.base.errors import KvmError

if TYPE_CHECKING:
    from re import Pattern


def site_of(request: Request) -> Site:
    """Tell where in the API a request is."""
    scope = request.scope
    return Site(
        path=scope["path"],
        operation_id=getattr(scope.get("route"), "operation_id", None),
        path_names=frozenset(request.path_params),
        query_names=frozenset(request.query_params),
        takes_body=takes_body(scope.get("route")),
    )


async def refuse_kvm(request: Request, error: Exception) -> Response:
    """Answer a refusal of the core or the fleet."""
    out = kvm_document(cast("KvmError", error), site_of(request))
    return ProblemResponse(out, out["status"])


async def refuse_setup(request: Request, error: Exception) -> Response:
    """Answer a refusal of a part of a VM to be made."""
    refused = cast("SetupRefusedError", error)
    site = replace(site_of(request), body_pointer=f"/{refused.part}/{refused.index}")
    out = kvm_document(refused.cause, site)
    return ProblemResponse(out, out["status"])


async def refuse_http(request: Request, error: Exception) -> Response:
    """Answer a refusal of HTTP itself."""
    refusal = cast("Refusal", error)
    out = refusal_document(refusal, site_of(request))
    return ProblemResponse(out, out["status"], dict(refusal.headers))


class RoutingRefusals:
    """Answers what the router refuses: no such path, or not by this method."""

    def __init__(self, app: FastAPI) -> None:
        self._paths: list[tuple[Pattern[str], frozenset[str]]] = [
            (compile_path(context.path)[0], frozenset(context.methods))
            for context in iter_route_contexts(app.routes)
            if context.path is not None and context.methods is not None
        ]

    def _allowed(self, path: str) -> Iterable[str]:
        """Name every method of a path; a framework's 405 names those of its first route only."""
        return sorted({m for regex, methods in self._paths if regex.match(path) for m in methods})

    async def __call__(self, request: Request, error: Exception) -> Response:
        """Answer the refusal."""
        refused = cast("HTTPException", error)
        path = request.scope["path"]
        if refused.status_code == METHOD_NOT_ALLOWED.status:
            allow = ", ".join(self._allowed(path))
            out = document(METHOD_NOT_ALLOWED, f"the path has the methods {allow}", path)
            return ProblemResponse(out, out["status"], {"Allow": allow})
        if refused.status_code == NO_SUCH_PATH.status:
            out = document(NO_SUCH_PATH, "nothing is served at this path", path)
        else:
            out = document(BAD_REQUEST, str(refused.detail), path)
        return ProblemResponse(out, out["status"])


def install(app: FastAPI) -> None:
    """Hand every refusal of an application, its routes being complete, to its renderer."""
    app.add_exception_handler(KvmError, refuse_kvm)
    app.add_exception_handler(SetupRefusedError, refuse_setup)
    app.add_exception_handler(Refusal, refuse_http)
    app.add_exception_handler(HTTPException, RoutingRefusals(app))
