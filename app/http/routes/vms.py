"""Virtual machines."""

from functools import partial
from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from ...service.fleet import DEFAULT_SESSION
from .. import operations as do
from ..bodies import json_body, optional_json_body
from ..deps import FleetDep, PageDep, VmDep
from ..openapi import json_request
from ..paging import SessionQuery, session_key, session_or_all
from ..preconditions import PreconditionsDep, vm_etag
from ..responses import JsonResponse
from ..routing import resource_router
from ..schemas.vms import VmIn, VmListOut, VmOut, VmPatch, vm_out

router = resource_router("vms")


@router.post(
    "/v1/vms",
    operation_id="create_vm",
    status_code=201,
    response_model=VmOut,
    openapi_extra=json_request(VmIn, required=False),
)
async def create_vm(
    fleet: FleetDep, body: Annotated[VmIn, Depends(optional_json_body(VmIn))]
) -> Response:
    """Make a VM with its slots and faults: all of it, or nothing."""
    vm = await fleet.create_vm(body.to_domain())
    return do.show_vm(vm, 201, f"/v1/vms/{vm.vm_id}").response()


@router.get("/v1/vms", operation_id="list_vms", response_model=VmListOut)
async def list_vms(
    fleet: FleetDep, page: PageDep, session_id: SessionQuery = DEFAULT_SESSION
) -> Response:
    """List the VMs of a session, by number."""
    listed, token = page.of(fleet.vms(session_or_all(fleet, session_id)), key=session_key)
    return JsonResponse({"vms": [vm_out(vm) for vm in listed], "next_page_token": token})


@router.get("/v1/vms/{vm_id}", operation_id="get_vm", response_model=VmOut)
async def get_vm(vm: VmDep) -> Response:
    """Show a VM."""
    return do.show_vm(vm).response()


@router.patch(
    "/v1/vms/{vm_id}",
    operation_id="update_vm",
    response_model=VmOut,
    openapi_extra=json_request(VmPatch),
)
async def update_vm(
    vm: VmDep,
    preconditions: PreconditionsDep,
    body: Annotated[VmPatch, Depends(json_body(VmPatch))],
) -> Response:
    """Set a capability (KVM_ENABLE_CAP)."""
    action = body.to_domain()
    return await do.run_alone(vm, action, partial(do.set_capability, vm, action, preconditions))


@router.delete("/v1/vms/{vm_id}", operation_id="delete_vm", status_code=204)
async def delete_vm(fleet: FleetDep, vm: VmDep, preconditions: PreconditionsDep) -> Response:
    """Delete a VM; a call in flight finishes on what it holds."""
    preconditions.check(vm_etag(vm))
    fleet.delete_vm(vm.vm_id)
    return Response(status_code=204)
