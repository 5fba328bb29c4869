"""Copies of a VM's memory: what a caller's own loop has sent, and what it lacks."""

from typing import Annotated, Final

from fastapi import Depends
from starlette.responses import Response

from hacdbs_sim.model import (
    CopyInfo,
    CopyList,
    CreateCopy,
    ReceivedPages,
    ReceivePages,
    StartCopy,
    Verification,
    VerifyCopy,
    VmInfo,
)
from hacdbs_sim.wire import reader_of

from ..bodies import json_body, optional_json_body
from ..deps import CopyPath, FleetDep, PageDep, VmDep
from ..openapi import json_request
from ..operations import show_vm
from ..paging import number_key
from ..responses import Answer, JsonResponse
from ..routing import resource_router

router = resource_router("copies")

_COPY: Final = reader_of(CreateCopy)
_PAGES: Final = reader_of(ReceivePages)
_VERIFY: Final = reader_of(VerifyCopy)
_START: Final = reader_of(StartCopy)


@router.post(
    "/v1/vms/{vm_id}/copies",
    operation_id="create_copy",
    status_code=201,
    response_model=CopyInfo,
    openapi_extra=json_request(_COPY, required=False),
)
async def create_copy(
    vm: VmDep, body: Annotated[CreateCopy, Depends(optional_json_body(_COPY))]
) -> Response:
    """Begin a copy of the VM's memory: empty, of the VM as it is, or of another copy."""
    kept = await vm.copies.create(body)
    location = f"/v1/vms/{vm.vm_id}/copies/{kept.copy_id}"
    return Answer(kept.info(vm.vm_id), 201, location).response()


@router.get("/v1/vms/{vm_id}/copies", operation_id="list_copies", response_model=CopyList)
async def list_copies(vm: VmDep, page: PageDep) -> Response:
    """List the copies of the VM's memory, by number."""
    listed, token = page.of(vm.copies.list(), key=lambda kept: number_key(kept.number))
    copies = tuple(kept.info(vm.vm_id) for kept in listed)
    return JsonResponse(CopyList(copies=copies, next_page_token=token))


@router.get("/v1/vms/{vm_id}/copies/{copy_id}", operation_id="get_copy", response_model=CopyInfo)
async def get_copy(vm: VmDep, copy_id: CopyPath) -> Response:
    """Return a copy of the VM's memory."""
    return JsonResponse(vm.copies.find(copy_id).info(vm.vm_id))


@router.delete("/v1/vms/{vm_id}/copies/{copy_id}", operation_id="delete_copy", status_code=204)
async def delete_copy(vm: VmDep, copy_id: CopyPath) -> Response:
    """Delete a copy; the copies that began with it stay."""
    await vm.copies.delete(copy_id)
    return Response(status_code=204)


@router.post(
    "/v1/vms/{vm_id}/copies/{copy_id}/receive",
    operation_id="receive_copy",
    response_model=ReceivedPages,
    openapi_extra=json_request(_PAGES),
)
async def receive_copy(
    vm: VmDep, copy_id: CopyPath, body: Annotated[ReceivePages, Depends(json_body(_PAGES, None))]
) -> Response:
    """Read pages of the VM into the copy, as they are now."""
    return JsonResponse(await vm.copies.find(copy_id).receive(body))


@router.post(
    "/v1/vms/{vm_id}/copies/{copy_id}/verify",
    operation_id="verify_copy",
    response_model=Verification,
    openapi_extra=json_request(_VERIFY, required=False),
)
async def verify_copy(
    vm: VmDep,
    copy_id: CopyPath,
    body: Annotated[VerifyCopy, Depends(optional_json_body(_VERIFY, None))],
) -> Response:
    """Compare the copy with the VM: each page is current, pending, unneeded or lost."""
    return JsonResponse(await vm.copies.find(copy_id).verify(body))


@router.post(
    "/v1/vms/{vm_id}/copies/{copy_id}/start",
    operation_id="start_copy",
    status_code=201,
    response_model=VmInfo,
    openapi_extra=json_request(_START, required=False),
)
async def start_copy(
    fleet: FleetDep,
    vm: VmDep,
    copy_id: CopyPath,
    body: Annotated[StartCopy, Depends(optional_json_body(_START))],
) -> Response:
    """Create a VM that has what the copy has; none of its memslots logs."""
    made = await fleet.start_copy(vm, vm.copies.find(copy_id), body)
    return show_vm(made, 201, f"/v1/vms/{made.vm_id}").response()
