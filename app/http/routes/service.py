"""Index, health, build, metrics, documents."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import Request
from starlette.responses import Response

from hacdbs_sim.model import Health, Index, Version

from .. import metrics, swagger
from ..deps import ContextDep
from ..problems import NOT_READY, Refusal
from ..responses import JsonResponse
from ..routing import resource_router

NAME: Final = "hacdbs-sim"
API: Final = "v1"

router = resource_router("service")

_LINKS: Final = {
    "documentation": "/docs",
    "ui": "/ui",
    "openapi": "/openapi.json",
    "version": "/version",
    "metrics": "/metrics",
    "livez": "/livez",
    "readyz": "/readyz",
    "capabilities": "/v1/capabilities",
    "fault_types": "/v1/fault-types",
    "sessions": "/v1/sessions",
    "vms": "/v1/vms",
    "events": "/v1/events",
}


def _installed_version() -> str:
    try:
        return version(NAME)
    except PackageNotFoundError:  # served from a source tree
        return "unreleased"


@router.get("/", response_model=Index)
async def get_index() -> Response:
    """List the entry points."""
    return JsonResponse(Index(name=NAME, links=_LINKS))


@router.get("/livez", response_model=Health)
async def get_livez() -> Response:
    """Report that the process is alive."""
    return JsonResponse(Health())


@router.get("/readyz", response_model=Health)
async def get_readyz(context: ContextDep) -> Response:
    """Report whether the service accepts work."""
    if context.is_stopping:
        raise Refusal(NOT_READY, "the service is stopping")
    return JsonResponse(Health())


@router.get("/version", response_model=Version)
async def get_version() -> Response:
    """Return the version of the service."""
    return JsonResponse(
        Version(
            name=NAME,
            version=_installed_version(),
            api=API,
            python=platform.python_version(),
        )
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def get_metrics(context: ContextDep) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(context.metrics.exposition(), media_type=metrics.CONTENT_TYPE)


@router.get("/openapi.json", include_in_schema=False)
async def get_openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    return JsonResponse(request.app.openapi())


@router.get("/docs", include_in_schema=False)
async def get_docs() -> Response:
    """Show the API in Swagger UI."""
    return swagger.page(NAME)


def _serve_asset(name: str, media_type: str) -> None:
    async def get_asset() -> Response:
        return Response(swagger.asset(name), media_type=media_type)

    router.add_api_route(f"/docs/{name}", get_asset, include_in_schema=False)


for _name, _media_type in swagger.ASSETS.items():
    _serve_asset(_name, _media_type)
