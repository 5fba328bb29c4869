"""Accesses of guest and host to batches of pages."""

from typing import Annotated, Any, Final

from starlette.responses import Response

from hacdbs_sim import model
from hacdbs_sim.model import AccessOutcome, PageSet

from ..bodies import json_body, pages_body
from ..deps import CountQuery, VmDep
from ..operations import run
from ..routing import resource_router

router = resource_router("accesses")

_MAX_BYTES: Final = 4 << 20


def _frames(access: type, *in_query: str) -> Any:  # noqa: ANN401 - as `Depends`
    text = "Guest frames; as octets: little-endian unsigned 64-bit gfns."
    return pages_body(access, model.Gfns, text, in_query)


@router.post("/v1/vms/{vm_id}/guest/write", response_model=AccessOutcome)
async def guest_write(
    vm: VmDep, pages: Annotated[PageSet, _frames(model.GuestWrite, "vcpu")], vcpu: CountQuery = 0
) -> Response:
    """Write pages as a vCPU."""
    return await run(vm, model.GuestWrite(pages=pages, vcpu=vcpu))


@router.post("/v1/vms/{vm_id}/guest/write-memory", response_model=AccessOutcome)
async def guest_write_memory(
    vm: VmDep,
    body: Annotated[model.GuestWriteMemory, json_body(model.GuestWriteMemory, _MAX_BYTES)],
) -> Response:
    """Write ranges of memory as a vCPU: every page that a range touches, once for each range."""
    return await run(vm, body)


@router.post("/v1/vms/{vm_id}/guest/read", response_model=AccessOutcome)
async def guest_read(
    vm: VmDep, pages: Annotated[PageSet, _frames(model.GuestRead, "vcpu")], vcpu: CountQuery = 0
) -> Response:
    """Read pages as a vCPU."""
    return await run(vm, model.GuestRead(pages=pages, vcpu=vcpu))


@router.post("/v1/vms/{vm_id}/guest/hint-free", response_model=AccessOutcome)
async def hint_free(vm: VmDep, pages: Annotated[PageSet, _frames(model.HintFree)]) -> Response:
    """Report pages as free: a migration need not send them until they are written."""
    return await run(vm, model.HintFree(pages=pages))


@router.post("/v1/vms/{vm_id}/host/write", response_model=AccessOutcome)
async def host_write(vm: VmDep, pages: Annotated[PageSet, _frames(model.HostWrite)]) -> Response:
    """Write pages as the host kernel: marks the log, leaves stage 2 alone."""
    return await run(vm, model.HostWrite(pages=pages))


@router.post("/v1/vms/{vm_id}/host/unmap", response_model=AccessOutcome)
async def host_unmap(vm: VmDep, pages: Annotated[PageSet, _frames(model.HostUnmap)]) -> Response:
    """Unmap pages as an MMU notifier does, whole blocks included; leaves the log alone."""
    return await run(vm, model.HostUnmap(pages=pages))


@router.post("/v1/vms/{vm_id}/host/discard", response_model=AccessOutcome)
async def host_discard(
    vm: VmDep, pages: Annotated[PageSet, _frames(model.HostDiscard)]
) -> Response:
    """Give pages back to the host, as a balloon does: unmap them, and drop their content."""
    return await run(vm, model.HostDiscard(pages=pages))
