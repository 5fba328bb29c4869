"""Virtual machines: their memory, CPUs, settings and faults; memslots and CPUs have calls of their own."""

from typing import Annotated, Final

from starlette.requests import Request
from starlette.responses import Response

from hacdbs_sim.model import DEFAULT_SESSION, CreateVm, UpdateVm, VmInfo, VmList

from ...service.fleet import Vm
from ..bodies import json_body
from ..deps import EpochDep, FleetDep, PageDep, VmDep
from ..operations import bytes_of_info, respond_with, run
from ..paging import SessionQuery, session_key, session_or_all
from ..preconditions import PreconditionsDep, vm_etag
from ..responses import respond
from ..room import hold_of
from ..routing import resource_router

router = resource_router("vms")

VM_BYTES: Final = 8 << 20
"""About 200 bytes for each of the maximum number of slots."""


@router.post("/v1/vms", status_code=201, response_model=VmInfo)
async def create_vm(
    fleet: FleetDep,
    epoch: EpochDep,
    body: Annotated[CreateVm, json_body(CreateVm, VM_BYTES, required=False)],
) -> Response:
    """Create a VM with its slots and faults: all of them, or nothing."""
    return await respond_with(await fleet.create_vm(body, epoch), 201)


@router.get("/v1/vms", response_model=VmList)
async def list_vms(
    request: Request, fleet: FleetDep, page: PageDep, session_id: SessionQuery = DEFAULT_SESSION
) -> Response:
    """List the VMs of a session, by number."""
    vms = fleet.vms(session_or_all(fleet, session_id))
    listed, _ = page.of(vms, session_key)
    await hold_of(request).take_more(sum(bytes_of_info(vm) for vm in listed))
    work = sum(vm.runtime.work_of_showing() for vm in listed)
    return await respond(lambda: page.response(VmList, vms, session_key, Vm.info), work)


@router.get("/v1/vms/{vm_id}", response_model=VmInfo)
async def get_vm(vm: VmDep) -> Response:
    """Return a VM."""
    return await respond_with(vm)


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
