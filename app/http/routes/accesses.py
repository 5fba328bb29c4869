"""Accesses of guest and host to batches of pages."""

from functools import partial
from typing import Any, Final

from starlette.responses import Response

from hacdbs_sim.sim.actions import GuestRead, GuestWrite, HostUnmap, HostWrite

from ...service.fleet import Vm
from .. import operations as do
from ..bodies import PagesBody
from ..deps import CountQuery, VmDep
from ..openapi import pages_request
from ..routing import resource_router
from ..schemas.accesses import AccessOut, PagesIn

router = resource_router("accesses")

_BODY: Final[dict[str, Any]] = pages_request(
    PagesIn, "Guest frames; as octets: little-endian unsigned 64-bit gfns."
)


async def _perform(vm: Vm, action: GuestWrite | GuestRead | HostWrite | HostUnmap) -> Response:
    return await do.run_alone(vm, action, partial(do.access, vm, action))


@router.post(
    "/v1/vms/{vm_id}/guest/write",
    operation_id="guest_write",
    response_model=AccessOut,
    openapi_extra=_BODY,
)
async def guest_write(vm: VmDep, pages: PagesBody, vcpu: CountQuery = 0) -> Response:
    """Write pages as a vCPU."""
    return await _perform(vm, GuestWrite(pages, vcpu))


@router.post(
    "/v1/vms/{vm_id}/guest/read",
    operation_id="guest_read",
    response_model=AccessOut,
    openapi_extra=_BODY,
)
async def guest_read(vm: VmDep, pages: PagesBody, vcpu: CountQuery = 0) -> Response:
    """Read pages as a vCPU."""
    return await _perform(vm, GuestRead(pages, vcpu))


@router.post(
    "/v1/vms/{vm_id}/host/write",
    operation_id="host_write",
    response_model=AccessOut,
    openapi_extra=_BODY,
)
async def host_write(vm: VmDep, pages: PagesBody) -> Response:
    """Write pages as the host kernel: marks the log, leaves stage 2 alone."""
    return await _perform(vm, HostWrite(pages))


@router.post(
    "/v1/vms/{vm_id}/host/unmap",
    operation_id="host_unmap",
    response_model=AccessOut,
    openapi_extra=_BODY,
)
async def host_unmap(vm: VmDep, pages: PagesBody) -> Response:
    """Unmap pages as an MMU notifier does, whole blocks included; leaves the log alone."""
    return await _perform(vm, HostUnmap(pages))
