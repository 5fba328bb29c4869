"""Copies of a VM's memory: what a caller's own loop has sent, and what it lacks."""

from typing import Annotated

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

from ..bodies import json_body
from ..deps import CopyPath, EpochDep, FleetDep, PageDep, VmDep
from ..operations import respond_with
from ..paging import number_key
from ..responses import Answer, JsonResponse, respond, show
from ..routing import resource_router

router = resource_router("copies")


@router.post("/v1/vms/{vm_id}/copies", status_code=201, response_model=CopyInfo)
async def create_copy(
    vm: VmDep, body: Annotated[CreateCopy, json_body(CreateCopy, required=False)]
) -> Response:
    """Begin a copy of the VM's memory: empty, of the VM as it is, or of another copy."""
    kept = await vm.copies.create(body)
    location = f"/v1/vms/{vm.vm_id}/copies/{kept.copy_id}"
    return await respond(
        lambda: Answer(kept.info(vm.vm_id), 201, location).response(), vm.runtime.work_of_showing()
    )


@router.get("/v1/vms/{vm_id}/copies", response_model=CopyList)
async def list_copies(vm: VmDep, page: PageDep) -> Response:
    """List the copies of the VM's memory, by number."""
    copies = vm.copies.list()

    def listed() -> Response:
        return page.response(
            CopyList,
            copies,
            lambda kept: number_key(kept.number),
            lambda kept: kept.info(vm.vm_id),
        )

    return await respond(listed, len(copies) * vm.runtime.work_of_showing())


@router.get("/v1/vms/{vm_id}/copies/{copy_id}", response_model=CopyInfo)
async def get_copy(vm: VmDep, copy_id: CopyPath) -> Response:
    """Return a copy of the VM's memory."""
    kept = vm.copies.find(copy_id)
    return await respond(
        lambda: Answer(kept.info(vm.vm_id)).response(), vm.runtime.work_of_showing()
    )


@router.delete("/v1/vms/{vm_id}/copies/{copy_id}", status_code=204)
async def delete_copy(vm: VmDep, copy_id: CopyPath) -> Response:
    """Delete a copy; the copies that began with it stay."""
    await vm.copies.delete(copy_id)
    return Response(status_code=204)


@router.post("/v1/vms/{vm_id}/copies/{copy_id}/receive", response_model=ReceivedPages)
async def receive_copy(
    vm: VmDep, copy_id: CopyPath, body: Annotated[ReceivePages, json_body(ReceivePages, None)]
) -> Response:
    """Read pages of the VM into the copy, as they are now."""
    return JsonResponse(await vm.copies.find(copy_id).receive(body))


@router.post("/v1/vms/{vm_id}/copies/{copy_id}/verify", response_model=Verification)
async def verify_copy(
    vm: VmDep,
    copy_id: CopyPath,
    body: Annotated[VerifyCopy, json_body(VerifyCopy, None, required=False)],
) -> Response:
    """Compare the copy with the VM: each page is current, pending, unneeded or lost."""
    return await show(await vm.copies.find(copy_id).verify(body))


@router.post("/v1/vms/{vm_id}/copies/{copy_id}/start", status_code=201, response_model=VmInfo)
async def start_copy(
    fleet: FleetDep,
    epoch: EpochDep,
    vm: VmDep,
    copy_id: CopyPath,
    body: Annotated[StartCopy, json_body(StartCopy, required=False)],
) -> Response:
    """Create a VM that has what the copy has; none of its memslots logs."""
    made = await fleet.start_copy(vm, copy_id, body, epoch)
    return await respond_with(made, 201)
