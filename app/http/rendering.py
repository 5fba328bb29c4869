"""Refusals as responses: each exception that is a refusal becomes its problem document."""

from dataclasses import replace
from typing import Final, TypeAlias

from starlette.requests import Request

from hacdbs_sim.model import ACTIONS, Problem
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.wire import InvalidRequestError, MalformedBodyError, Site, document

from ..service.errors import SetupRefusedError
from ..service.idempotency_store import IDEMPOTENCY_KEY
from .problems import Refusal, refusal_document
from .responses import ProblemResponse

AnyRefusal: TypeAlias = (
    KvmError | SetupRefusedError | InvalidRequestError | MalformedBodyError | Refusal
)
"""A refusal of a backend or the service, of a part of a new VM, of the wire, or of HTTP itself."""

REFUSALS: Final = (KvmError, SetupRefusedError, InvalidRequestError, MalformedBodyError, Refusal)
"""The same types, for `except`."""

_HEADERS: Final = frozenset({IDEMPOTENCY_KEY})

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
        header_names=_HEADERS,
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
