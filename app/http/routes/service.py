"""The service itself: index, health, build, metrics, documents, capabilities."""

import asyncio
import platform
from dataclasses import asdict
from typing import Final

from fastapi import Request
from starlette.responses import Response

from hacdbs_sim import model
from hacdbs_sim.model import Capabilities, Health, Index, ServiceLimits, Version
from hacdbs_sim.model.kinds import MAX_SLOT
from hacdbs_sim.wire.codec import MAX_RANGES

from ...service.limits import MAX_IDEMPOTENCY_KEYS_PER_SCOPE, MAX_SESSIONS
from .. import ui
from ..accept import AcceptsHtml
from ..build import NAME, installed_version
from ..deps import ContextDep, FleetDep
from ..metrics import CONTENT_TYPE
from ..problems import NOT_READY, Refusal
from ..responses import HTML_MEDIA_TYPE, JSON_MEDIA_TYPE, JsonResponse
from ..routing import resource_router

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

# KVM_CHECK_EXTENSION on arm64 (docs/kernel.md A.0, A.4 to A.7); dirty rings are not simulated.
_EXTENSIONS: Final = {
    "KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE": 0,
    "KVM_CAP_ARM_VM_IPA_SIZE": model.MAX_IPA_BITS,
    "KVM_CAP_DIRTY_LOG_RING": 0,
    "KVM_CAP_DIRTY_LOG_RING_ACQ_REL": 0,
    "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2": 3,
    "KVM_CAP_MAX_VCPUS": model.MAX_VCPUS,
    "KVM_CAP_NR_MEMSLOTS": MAX_SLOT + 1,
    "KVM_CAP_READONLY_MEM": 1,
    "KVM_CAP_USER_MEMORY": 1,
}


@router.get(
    "/",
    response_model=Index,
    responses={
        200: {
            "content": {JSON_MEDIA_TYPE: {}, HTML_MEDIA_TYPE: {"schema": {"type": "string"}}},
        }
    },
)
async def get_index(*, as_page: AcceptsHtml) -> Response:
    """List the entry points; `Accept: text/html`, as of a browser, gets the page of /ui."""
    if as_page:
        return ui.file(ui.INDEX)
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
async def get_version(fleet: FleetDep) -> Response:
    """Return the version of the service, and the name of this start of it."""
    return JsonResponse(
        Version(
            name=NAME,
            version=installed_version(),
            api=API,
            python=platform.python_version(),
            instance=fleet.instance,
        )
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def get_metrics(context: ContextDep) -> Response:
    """Return the metrics in Prometheus' text format."""
    return Response(context.metrics.exposition(), media_type=CONTENT_TYPE)


@router.get("/openapi.json", include_in_schema=False)
async def get_openapi(request: Request) -> Response:
    """Return the OpenAPI document."""
    text = await asyncio.to_thread(request.app.openapi_text)
    return Response(text, media_type=JSON_MEDIA_TYPE)


@router.get("/v1/capabilities", response_model=Capabilities)
async def get_capabilities(context: ContextDep) -> Response:
    """Return the values of KVM_CHECK_EXTENSION and the limits."""
    return JsonResponse(
        Capabilities(
            extensions=_EXTENSIONS,
            supported_block_sizes={
                str(page_size): model.leaf_sizes_bytes(page_size)
                for page_size in model.PAGE_SIZES_BYTES
            },
            limits=ServiceLimits(
                **asdict(context.fleet.limits),
                max_body_bytes=context.max_body_bytes,
                max_batch_bytes=context.max_batch_bytes,
                max_faults_per_vm=model.MAX_FAULTS_PER_VM,
                max_workloads_per_vm=model.MAX_WORKLOADS_PER_VM,
                max_copies_per_vm=model.MAX_COPIES_PER_VM,
                max_sessions=MAX_SESSIONS,
                max_batch_actions=model.MAX_ACTIONS,
                max_ranges=MAX_RANGES,
                max_idempotency_keys_per_session=MAX_IDEMPOTENCY_KEYS_PER_SCOPE,
            ),
        )
    )
