"""Fault injection. Faults never wait for a machine that is busy: they take effect at its next call."""

from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from hacdbs_sim.sim.actions import ArmFault

from .. import operations as do
from ..bodies import read_fault
from ..deps import FaultPath, PageDep, VmDep
from ..openapi import fault_request
from ..paging import number_key
from ..responses import JsonResponse
from ..routing import resource_router
from ..schemas.faults import (
    FAULT_TYPES,
    FaultIn,
    FaultListOut,
    FaultOut,
    FaultTypeListOut,
    fault_out,
)

router = resource_router("faults")


@router.get("/v1/fault-types", operation_id="list_fault_types", response_model=FaultTypeListOut)
async def list_fault_types() -> Response:
    """Describe the types of fault."""
    return JsonResponse({"fault_types": FAULT_TYPES})


@router.post(
    "/v1/vms/{vm_id}/faults",
    operation_id="add_fault",
    status_code=201,
    response_model=FaultOut,
    openapi_extra=fault_request(),
)
async def add_fault(vm: VmDep, body: Annotated[FaultIn, Depends(read_fault)]) -> Response:
    """Arm a fault."""
    return do.add_fault(vm, ArmFault(body.to_domain())).response()


@router.get("/v1/vms/{vm_id}/faults", operation_id="list_faults", response_model=FaultListOut)
async def list_faults(vm: VmDep, page: PageDep) -> Response:
    """List the armed faults, in order of arming."""
    views, token = page.of(
        vm.runtime.machine.faults(), key=lambda v: number_key(int(v.fault_id[1:]))
    )
    return JsonResponse({"faults": [fault_out(view) for view in views], "next_page_token": token})


@router.delete("/v1/vms/{vm_id}/faults", operation_id="delete_faults", status_code=204)
async def delete_faults(vm: VmDep) -> Response:
    """Disarm all faults."""
    for view in vm.runtime.machine.faults():
        do.delete_fault(vm, view.fault_id)
    return Response(status_code=204)


@router.get("/v1/vms/{vm_id}/faults/{fault_id}", operation_id="get_fault", response_model=FaultOut)
async def get_fault(vm: VmDep, fault_id: FaultPath) -> Response:
    """Show an armed fault."""
    return JsonResponse(fault_out(vm.runtime.machine.fault(fault_id)))


@router.delete("/v1/vms/{vm_id}/faults/{fault_id}", operation_id="delete_fault", status_code=204)
async def delete_fault(vm: VmDep, fault_id: FaultPath) -> Response:
    """Disarm a fault."""
    return do.delete_fault(vm, fault_id).response()
