"""Accesses of guest and host to batches of pages."""

from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.responses import Response

from hacdbs_sim.model import (
    AccessOutcome,
    GuestRead,
    GuestWrite,
    GuestWriteMemory,
    HintFree,
    HostDiscard,
    HostUnmap,
    HostWrite,
)
from hacdbs_sim.wire import body_class, reader_of

from ..bodies import FramesBody, json_body
from ..deps import CountQuery, VmDep
from ..openapi import json_request, pages_request
from ..operations import run
from ..routing import resource_router

router = resource_router("accesses")

_MEMORY: Final = reader_of(GuestWriteMemory)
_MAX_BYTES: Final = 4 << 20


def _frames(access: type, *in_query: str) -> dict[str, Any]:
    """Describe the body of an access; all of them read the same, with `FramesBody`."""
    return pages_request(
        body_class(access, without=frozenset(in_query)),
        "Guest frames; as octets: little-endian unsigned 64-bit gfns.",
    )


@router.post(
    "/v1/vms/{vm_id}/guest/write",
    operation_id="guest_write",
    response_model=AccessOutcome,
    openapi_extra=_frames(GuestWrite, "vcpu"),
)
async def guest_write(vm: VmDep, pages: FramesBody, vcpu: CountQuery = 0) -> Response:
    """Write pages as a vCPU."""
    return await run(vm, GuestWrite(pages=pages, vcpu=vcpu))


@router.post(
    "/v1/vms/{vm_id}/guest/write-memory",
    operation_id="guest_write_memory",
    response_model=AccessOutcome,
    openapi_extra=json_request(_MEMORY),
)
async def guest_write_memory(
    vm: VmDep, body: Annotated[GuestWriteMemory, Depends(json_body(_MEMORY, max_bytes=_MAX_BYTES))]
) -> Response:
    """Write ranges of memory as a vCPU: every page that a range touches, once for each range."""
    return await run(vm, body)


@router.post(
    "/v1/vms/{vm_id}/guest/read",
    operation_id="guest_read",
    response_model=AccessOutcome,
    openapi_extra=_frames(GuestRead, "vcpu"),
)
async def guest_read(vm: VmDep, pages: FramesBody, vcpu: CountQuery = 0) -> Response:
    """Read pages as a vCPU."""
    return await run(vm, GuestRead(pages=pages, vcpu=vcpu))


@router.post(
    "/v1/vms/{vm_id}/guest/hint-free",
    operation_id="hint_free",
    response_model=AccessOutcome,
    openapi_extra=_frames(HintFree),
)
async def hint_free(vm: VmDep, pages: FramesBody) -> Response:
    """Report pages as free: a migration need not send them until they are written."""
    return await run(vm, HintFree(pages=pages))


@router.post(
    "/v1/vms/{vm_id}/host/write",
    operation_id="host_write",
    response_model=AccessOutcome,
    openapi_extra=_frames(HostWrite),
)
async def host_write(vm: VmDep, pages: FramesBody) -> Response:
    """Write pages as the host kernel: marks the log, leaves stage 2 alone."""
    return await run(vm, HostWrite(pages=pages))


@router.post(
    "/v1/vms/{vm_id}/host/unmap",
    operation_id="host_unmap",
    response_model=AccessOutcome,
    openapi_extra=_frames(HostUnmap),
)
async def host_unmap(vm: VmDep, pages: FramesBody) -> Response:
    """Unmap pages as an MMU notifier does, whole blocks included; leaves the log alone."""
    return await run(vm, HostUnmap(pages=pages))


@router.post(
    "/v1/vms/{vm_id}/host/discard",
    operation_id="host_discard",
    response_model=AccessOutcome,
    openapi_extra=_frames(HostDiscard),
)
async def host_discard(vm: VmDep, pages: FramesBody) -> Response:
    """Give pages back to the host, as a balloon does: unmap them, and drop their content."""
    return await run(vm, HostDiscard(pages=pages))
