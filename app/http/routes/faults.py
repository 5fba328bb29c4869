"""Fault injection. Faults never wait for a busy VM: they take effect at its next call."""

from typing import Annotated, Final

from fastapi import Depends
from starlette.responses import Response

from hacdbs_sim.model import (
    FAULT_TYPES,
    AddFault,
    DeleteFault,
    DeleteFaults,
    FaultInfo,
    FaultList,
    FaultTypeList,
    GetFault,
    ListFaults,
)
from hacdbs_sim.wire import reader_of

from ..bodies import json_body
from ..deps import FaultPath, PageDep, VmDep
from ..openapi import json_request
from ..operations import perform_now
from ..paging import number_key
from ..responses import JsonResponse
from ..routing import resource_router

router = resource_router("faults")

_FAULT: Final = reader_of(AddFault)


@router.get("/v1/fault-types", operation_id="list_fault_types", response_model=FaultTypeList)
async def list_fault_types() -> Response:
    """Describe the types of fault."""
    return JsonResponse(FaultTypeList(fault_types=FAULT_TYPES))


@router.post(
    "/v1/vms/{vm_id}/faults",
    operation_id="add_fault",
    status_code=201,
    response_model=FaultInfo,
    openapi_extra=json_request(_FAULT),
)
async def add_fault(vm: VmDep, body: Annotated[AddFault, Depends(json_body(_FAULT))]) -> Response:
    """Arm a fault."""
    return perform_now(vm, body).response()


@router.get("/v1/vms/{vm_id}/faults", operation_id="list_faults", response_model=FaultList)
async def list_faults(vm: VmDep, page: PageDep) -> Response:
    """List the armed faults, in the order of arming."""
    faults, token = page.of(
        vm.runtime.query(ListFaults()), key=lambda each: number_key(int(each.fault_id[1:]))
    )
    return JsonResponse(FaultList(faults=tuple(faults), next_page_token=token))


@router.delete("/v1/vms/{vm_id}/faults", operation_id="delete_faults", status_code=204)
async def delete_faults(vm: VmDep) -> Response:
    """Disarm all faults."""
    return perform_now(vm, DeleteFaults()).response()


@router.get("/v1/vms/{vm_id}/faults/{fault_id}", operation_id="get_fault", response_model=FaultInfo)
async def get_fault(vm: VmDep, fault_id: FaultPath) -> Response:
    """Return an armed fault."""
    return JsonResponse(vm.runtime.query(GetFault(fault_id=fault_id)))


@router.delete("/v1/vms/{vm_id}/faults/{fault_id}", operation_id="delete_fault", status_code=204)
async def delete_fault(vm: VmDep, fault_id: FaultPath) -> Response:
    """Disarm a fault."""
    return perform_now(vm, DeleteFault(fault_id=fault_id)).response()
