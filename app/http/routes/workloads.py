"""Workloads and virtual time: the writes of a running guest, and how long it runs."""

from typing import Annotated, Final

from starlette.responses import Response

from hacdbs_sim import model
from hacdbs_sim.model import AddWorkload, Clock, WorkloadInfo, WorkloadList

from ..bodies import json_body
from ..deps import PageDep, VmDep, WorkloadPath
from ..operations import run
from ..paging import number_key
from ..responses import JsonResponse
from ..routing import resource_router

router = resource_router("workloads")

WORKLOAD_BYTES: Final = 8 << 20


@router.get("/v1/cost-model", response_model=model.CostModelInfo)
async def get_cost_model() -> Response:
    """Describe the knobs that turn counted events into virtual time."""
    return JsonResponse(model.CostModelInfo(knobs=model.KNOBS))


@router.post("/v1/vms/{vm_id}/workloads", status_code=201, response_model=WorkloadInfo)
async def add_workload(
    vm: VmDep, body: Annotated[AddWorkload, json_body(AddWorkload, WORKLOAD_BYTES)]
) -> Response:
    """Add a workload: writes of the guest, or of the host beside it, while the guest runs."""
    return await run(vm, body)


@router.get("/v1/vms/{vm_id}/workloads", response_model=WorkloadList)
async def list_workloads(vm: VmDep, page: PageDep) -> Response:
    """List the workloads, in the order in which they were added."""
    workloads = vm.runtime.query(model.ListWorkloads())
    return page.response(
        WorkloadList, workloads, lambda each: number_key(int(each.workload_id[1:]))
    )


@router.delete("/v1/vms/{vm_id}/workloads", status_code=204)
async def delete_workloads(vm: VmDep) -> Response:
    """Delete all workloads."""
    return await run(vm, model.DeleteWorkloads())


@router.get("/v1/vms/{vm_id}/workloads/{workload_id}", response_model=WorkloadInfo)
async def get_workload(vm: VmDep, workload_id: WorkloadPath) -> Response:
    """Return a workload and its progress."""
    return JsonResponse(vm.runtime.query(model.GetWorkload(workload_id=workload_id)))


@router.delete("/v1/vms/{vm_id}/workloads/{workload_id}", status_code=204)
async def delete_workload(vm: VmDep, workload_id: WorkloadPath) -> Response:
    """Delete a workload."""
    return await run(vm, model.DeleteWorkload(workload_id=workload_id))


@router.get("/v1/vms/{vm_id}/clock", response_model=Clock)
async def get_clock(vm: VmDep) -> Response:
    """Return the virtual clock."""
    return JsonResponse(vm.runtime.query(model.GetClock()))


@router.post("/v1/vms/{vm_id}/clock/advance", response_model=Clock)
async def advance_clock(
    vm: VmDep, body: Annotated[model.AdvanceClock, json_body(model.AdvanceClock)]
) -> Response:
    """Advance the clock while the guest is paused."""
    return await run(vm, body)


@router.post("/v1/vms/{vm_id}/guest/run", response_model=model.GuestRun)
async def run_guest(
    vm: VmDep, body: Annotated[model.RunGuest, json_body(model.RunGuest)]
) -> Response:
    """Run the guest: the workloads write for some virtual time."""
    return await run(vm, body)


@router.post("/v1/vms/{vm_id}/track-versions", response_model=model.VmInfo)
async def track_versions(
    vm: VmDep, body: Annotated[model.TrackVersions, json_body(model.TrackVersions)]
) -> Response:
    """Track page versions from now on, or no longer."""
    return await run(vm, body)
