"""Workloads and virtual time: what writes when the guest runs, and how long it runs."""

from functools import partial
from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from hacdbs_sim.sim.actions import AddWorkload, AdvanceClock, RemoveWorkload, RunGuest

from .. import operations as do
from ..bodies import json_body, read_workload
from ..deps import PageDep, VmDep, WorkloadPath
from ..openapi import json_request, workload_request
from ..paging import number_key
from ..responses import JsonResponse
from ..routing import resource_router
from ..schemas.guest import (
    KNOBS_OUT,
    AdvanceIn,
    ClockOut,
    CostModelOut,
    GuestRunOut,
    RunIn,
    clock_out,
)
from ..schemas.workloads import WorkloadIn, WorkloadListOut, WorkloadOut, workload_out

router = resource_router("workloads")


@router.get("/v1/cost-model", operation_id="get_cost_model", response_model=CostModelOut)
async def get_cost_model() -> Response:
    """Describe the knobs that turn counted events into virtual time."""
    return JsonResponse({"knobs": KNOBS_OUT})


@router.post(
    "/v1/vms/{vm_id}/workloads",
    operation_id="add_workload",
    status_code=201,
    response_model=WorkloadOut,
    openapi_extra=workload_request(),
)
async def add_workload(vm: VmDep, body: Annotated[WorkloadIn, Depends(read_workload)]) -> Response:
    """Give the guest, or the host beside it, something to write whenever the guest runs."""
    action = AddWorkload(body.to_domain())
    return await do.run_alone(vm, action, partial(do.add_workload, vm, action))


@router.get(
    "/v1/vms/{vm_id}/workloads", operation_id="list_workloads", response_model=WorkloadListOut
)
async def list_workloads(vm: VmDep, page: PageDep) -> Response:
    """List the workloads, in the order in which they were added."""
    views = vm.runtime.machine.workloads()
    listed, token = page.of(views, key=lambda view: number_key(int(view.workload_id[1:])))
    body: WorkloadListOut = {
        "workloads": [workload_out(view) for view in listed],
        "next_page_token": token,
    }
    return JsonResponse(body)


@router.delete("/v1/vms/{vm_id}/workloads", operation_id="delete_workloads", status_code=204)
async def delete_workloads(vm: VmDep) -> Response:
    """Take all workloads off."""
    return await do.run_alone(vm, RemoveWorkload("-"), partial(do.delete_all_workloads, vm))


@router.get(
    "/v1/vms/{vm_id}/workloads/{workload_id}",
    operation_id="get_workload",
    response_model=WorkloadOut,
)
async def get_workload(vm: VmDep, workload_id: WorkloadPath) -> Response:
    """Show a workload, and how far it has come."""
    return JsonResponse(workload_out(vm.runtime.machine.workload(workload_id)))


@router.delete(
    "/v1/vms/{vm_id}/workloads/{workload_id}", operation_id="delete_workload", status_code=204
)
async def delete_workload(vm: VmDep, workload_id: WorkloadPath) -> Response:
    """Take a workload off."""
    action = RemoveWorkload(workload_id)
    return await do.run_alone(vm, action, partial(do.delete_workloads, vm, workload_id))


@router.get("/v1/vms/{vm_id}/clock", operation_id="get_clock", response_model=ClockOut)
async def get_clock(vm: VmDep) -> Response:
    """Show the virtual clock."""
    return JsonResponse(clock_out(vm.runtime.machine.clock()))


@router.post(
    "/v1/vms/{vm_id}/clock/advance",
    operation_id="advance_clock",
    response_model=ClockOut,
    openapi_extra=json_request(AdvanceIn),
)
async def advance_clock(
    vm: VmDep, body: Annotated[AdvanceIn, Depends(json_body(AdvanceIn))]
) -> Response:
    """Let time pass while the guest is paused."""
    action = AdvanceClock(body.duration_ns)
    return await do.run_alone(vm, action, partial(do.advance_clock, vm, action))


@router.post(
    "/v1/vms/{vm_id}/guest/run",
    operation_id="run_guest",
    response_model=GuestRunOut,
    openapi_extra=json_request(RunIn),
)
async def run_guest(vm: VmDep, body: Annotated[RunIn, Depends(json_body(RunIn))]) -> Response:
    """Let the workloads write for some virtual time."""
    action = RunGuest(body.duration_ns, body.throttle_percent)
    return await do.run_alone(vm, action, partial(do.run_guest, vm, action))
