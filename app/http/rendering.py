"""Refusals as responses: each exception that is a refusal becomes its problem document."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, TypeAlias, cast

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hacdbs_sim.model import ACTIONS, Problem
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.wire import InvalidRequestError, MalformedBodyError, Site, document

from ..service.errors import SetupRefusedError
from ..service.idempotency_store import IDEMPOTENCY_KEY
from . import problems
from .problems import Refusal, plain_document, refusal_document
from .responses import ProblemResponse

AnyRefusal: TypeAlias = (
    KvmError | SetupRefusedError | InvalidRequestError | MalformedBodyError | Refusal
)
"""A refusal of a backend or the service, of a part of a new VM, of the wire, or of HTTP itself."""

REFUSALS: Final = (KvmError, SetupRefusedError, InvalidRequestError, MalformedBodyError, Refusal)
"""The same types, for `except`."""

_IOCTLS: Final = {action.op: action.ioctl for action in ACTIONS}
"""The ioctls of operations, by operation id."""


def takes_body(route: object) -> bool:
    """Whether a route reads a body."""
    return "requestBody" in (getattr(route, "openapi_extra", None) or {})


def site_of(request: Request) -> Site:
    """Return the site of a request in the API."""
    scope = request.scope
    route = scope.get("route")
    return Site(
        path=scope["path"],
        ioctl=_IOCTLS.get(getattr(route, "operation_id", None) or ""),
        path_names=frozenset(request.path_params),
        query_names=frozenset(request.query_params),
        header_names=frozenset({IDEMPOTENCY_KEY}),
        takes_body=takes_body(route),
    )


def refusal_response(request: Request, refused: AnyRefusal) -> ProblemResponse:
    """Return the response to a refused request."""
    site = site_of(request)
    if isinstance(refused, Refusal):
        return ProblemResponse(refusal_document(refused, site), refused.headers)
    return ProblemResponse(document_of(refused, site))


def document_of(
    refused: KvmError | SetupRefusedError | InvalidRequestError | MalformedBodyError, site: Site
) -> Problem:
    """Return the problem document of a refusal; of a part of a new VM, at that part."""
    if isinstance(refused, SetupRefusedError):
        site = replace(site, body_pointer=f"/{refused.part}/{refused.index}")
        return document(refused.cause, site)
    return document(refused, site)


def install(app: FastAPI, routes: Iterable[Route]) -> None:
    """Install the renderers of all refusals in an application that has these routes."""
    paths = [(route.path_regex, frozenset(route.methods or ())) for route in routes]

    async def refuse(request: Request, error: Exception) -> Response:
        return refusal_response(request, cast("AnyRefusal", error))

    async def refuse_routing(request: Request, error: Exception) -> Response:
        refused = cast("HTTPException", error)
        path = request.scope["path"]
        if refused.status_code == problems.METHOD_NOT_ALLOWED.status:
            # All methods of the path; the framework names those of its first route only
            methods = {m for regex, methods in paths if regex.match(path) for m in methods}
            allow = ", ".join(sorted(methods))
            out = plain_document(
                problems.METHOD_NOT_ALLOWED, f"the path has the methods {allow}", path
            )
            return ProblemResponse(out, {"Allow": allow})
        if refused.status_code == problems.NO_SUCH_PATH.status:
            out = plain_document(problems.NO_SUCH_PATH, "nothing is served at this path", path)
        else:
            out = plain_document(problems.BAD_REQUEST, str(refused.detail), path)
        return ProblemResponse(out)

    for kind in REFUSALS:
        app.add_exception_handler(kind, refuse)
    app.add_exception_handler(HTTPException, refuse_routing)
