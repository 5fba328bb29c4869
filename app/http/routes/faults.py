"""Fault injection. Faults never wait for a busy VM: they take effect at its next call."""

from typing import Annotated

from starlette.responses import Response

from hacdbs_sim import model
from hacdbs_sim.model import AddFault, FaultInfo, FaultList, FaultTypeList

from ..bodies import json_body
from ..deps import FaultPath, PageDep, VmDep
from ..operations import perform_now
from ..paging import number_key
from ..responses import JsonResponse, respond
from ..routing import resource_router

router = resource_router("faults")


@router.get("/v1/fault-types", response_model=FaultTypeList)
async def list_fault_types() -> Response:
    """Describe the types of fault."""
    return JsonResponse(FaultTypeList(fault_types=model.FAULT_TYPES))


@router.post("/v1/vms/{vm_id}/faults", status_code=201, response_model=FaultInfo)
async def add_fault(vm: VmDep, body: Annotated[AddFault, json_body(AddFault)]) -> Response:
    """Arm a fault."""
    return perform_now(vm, body).response()


@router.get("/v1/vms/{vm_id}/faults", response_model=FaultList)
async def list_faults(vm: VmDep, page: PageDep) -> Response:
    """List the armed faults, in the order of arming."""

    def show() -> Response:
        faults = vm.runtime.query(model.ListFaults())
        return page.response(FaultList, faults, lambda each: number_key(int(each.fault_id[1:])))

    return await respond(show, vm.runtime.work_of_showing())


@router.delete("/v1/vms/{vm_id}/faults", status_code=204)
async def delete_faults(vm: VmDep) -> Response:
    """Disarm all faults."""
    return perform_now(vm, model.DeleteFaults()).response()


@router.get("/v1/vms/{vm_id}/faults/{fault_id}", response_model=FaultInfo)
async def get_fault(vm: VmDep, fault_id: FaultPath) -> Response:
    """Return an armed fault."""
    return JsonResponse(vm.runtime.query(model.GetFault(fault_id=fault_id)))


@router.delete("/v1/vms/{vm_id}/faults/{fault_id}", status_code=204)
async def delete_fault(vm: VmDep, fault_id: FaultPath) -> Response:
    """Disarm a fault."""
    return perform_now(vm, model.DeleteFault(fault_id=fault_id)).response()
