"""Virtual machines: their memory, CPUs, settings and faults; memslots and CPUs have calls of their own."""

from typing import Annotated, Final

from starlette.responses import Response

from hacdbs_sim.model import DEFAULT_SESSION, CreateVm, UpdateVm, VmInfo, VmList

from ...service.fleet import Vm
from ..bodies import json_body
from ..deps import FleetDep, PageDep, VmDep
from ..operations import run, show_vm
from ..paging import SessionQuery, session_key, session_or_all
from ..preconditions import PreconditionsDep, vm_etag
from ..routing import resource_router

router = resource_router("vms")

VM_BYTES: Final = 8 << 20
"""About 200 bytes for each of the maximum number of slots."""


@router.post("/v1/vms", status_code=201, response_model=VmInfo)
async def create_vm(
    fleet: FleetDep, body: Annotated[CreateVm, json_body(CreateVm, VM_BYTES, required=False)]
) -> Response:
    """Create a VM with its slots and faults: all of them, or nothing."""
    vm = await fleet.create_vm(body)
    return show_vm(vm, 201, f"/v1/vms/{vm.vm_id}").response()


@router.get("/v1/vms", response_model=VmList)
async def list_vms(
    fleet: FleetDep, page: PageDep, session_id: SessionQuery = DEFAULT_SESSION
) -> Response:
    """List the VMs of a session, by number."""
    return page.response(VmList, fleet.vms(session_or_all(fleet, session_id)), session_key, Vm.info)


@router.get("/v1/vms/{vm_id}", response_model=VmInfo)
async def get_vm(vm: VmDep) -> Response:
    """Return a VM."""
    return show_vm(vm).response()


@router.patch("/v1/vms/{vm_id}", response_model=VmInfo)
async def update_vm(
    vm: VmDep, preconditions: PreconditionsDep, body: Annotated[UpdateVm, json_body(UpdateVm)]
) -> Response:
    """Set a capability (KVM_ENABLE_CAP)."""
    return await run(vm, body, preconditions=preconditions)


@router.delete("/v1/vms/{vm_id}", status_code=204)
async def delete_vm(fleet: FleetDep, vm: VmDep, preconditions: PreconditionsDep) -> Response:
    """Delete a VM; a call in flight finishes on what it holds."""
    preconditions.check(vm_etag(vm))
    fleet.delete_vm(vm.vm_id)
    return Response(status_code=204)
