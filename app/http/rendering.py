"""Refusals as responses: each of our exceptions becomes its problem document."""

from dataclasses import replace
from typing import Final, TypeAlias

from starlette.requests import Request

from hacdbs_sim.sim.base.errors import KvmError

from ..service.errors import SetupRefusedError
from .problems import Refusal, Site, kvm_document, refusal_document
from .responses import ProblemResponse

AnyRefusal: TypeAlias = KvmError | SetupRefusedError | Refusal
"""A refusal of the core or the fleet, of a part of a new VM, or of HTTP itself."""

REFUSALS: Final = (KvmError, SetupRefusedError, Refusal)
"""The same, to catch."""


def takes_body(route: object) -> bool:
    """Return whether a route reads a body."""
    return "requestBody" in (getattr(route, "openapi_extra", None) or {})


def site_of(request: Request) -> Site:
    """Return where in the API a request is."""
    scope = request.scope
    return Site(
        path=scope["path"],
        operation_id=getattr(scope.get("route"), "operation_id", None),
        path_names=frozenset(request.path_params),
        query_names=frozenset(request.query_params),
        takes_body=takes_body(scope.get("route")),
    )


def refusal_response(request: Request, refused: AnyRefusal) -> ProblemResponse:
    """Make the answer to a request that was refused."""
    site = site_of(request)
    if isinstance(refused, Refusal):
        out = refusal_document(refused, site)
        return ProblemResponse(out, out["status"], dict(refused.headers))
    if isinstance(refused, SetupRefusedError):
        site = replace(site, body_pointer=f"/{refused.part}/{refused.index}")
        refused = refused.cause
    out = kvm_document(refused, site)
    return ProblemResponse(out, out["status"])
