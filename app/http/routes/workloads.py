"""Workloads and virtual time: the writes of a running guest, and how long it runs."""

from typing import Annotated, Final

from fastapi import Depends
from starlette.responses import Response

from hacdbs_sim.model import (
    KNOBS,
    AddWorkload,
    AdvanceClock,
    Clock,
    CostModelInfo,
    DeleteWorkload,
    DeleteWorkloads,
    GetClock,
    GetWorkload,
    GuestRun,
    ListWorkloads,
    RunGuest,
    TrackVersions,
    VmInfo,
    WorkloadInfo,
    WorkloadList,
)
from hacdbs_sim.wire import reader_of

from ..bodies import json_body
from ..deps import PageDep, VmDep, WorkloadPath
from ..openapi import json_request
from ..operations import run
from ..paging import number_key
from ..responses import JsonResponse
from ..routing import resource_router

router = resource_router("workloads")

WORKLOAD_BYTES: Final = 8 << 20

_WORKLOAD: Final = reader_of(AddWorkload)
_ADVANCE: Final = reader_of(AdvanceClock)
_RUN: Final = reader_of(RunGuest)
_TRACK: Final = reader_of(TrackVersions)


@router.get("/v1/cost-model", operation_id="get_cost_model", response_model=CostModelInfo)
async def get_cost_model() -> Response:
    """Describe the knobs that turn counted events into virtual time."""
    return JsonResponse(CostModelInfo(knobs=KNOBS))


@router.post(
    "/v1/vms/{vm_id}/workloads",
    operation_id="add_workload",
    status_code=201,
    response_model=WorkloadInfo,
    openapi_extra=json_request(_WORKLOAD),
)
async def add_workload(
    vm: VmDep, body: Annotated[AddWorkload, Depends(json_body(_WORKLOAD, WORKLOAD_BYTES))]
) -> Response:
    """Add a workload: writes of the guest, or of the host beside it, while the guest runs."""
    return await run(vm, body)


@router.get("/v1/vms/{vm_id}/workloads", operation_id="list_workloads", response_model=WorkloadList)
async def list_workloads(vm: VmDep, page: PageDep) -> Response:
    """List the workloads, in the order in which they were added."""
    workloads, token = page.of(
        vm.runtime.query(ListWorkloads()), key=lambda each: number_key(int(each.workload_id[1:]))
    )
    return JsonResponse(WorkloadList(workloads=tuple(workloads), next_page_token=token))


@router.delete("/v1/vms/{vm_id}/workloads", operation_id="delete_workloads", status_code=204)
async def delete_workloads(vm: VmDep) -> Response:
    """Delete all workloads."""
    return await run(vm, DeleteWorkloads())


@router.get(
    "/v1/vms/{vm_id}/workloads/{workload_id}",
    operation_id="get_workload",
    response_model=WorkloadInfo,
)
async def get_workload(vm: VmDep, workload_id: WorkloadPath) -> Response:
    """Return a workload and its progress."""
    return JsonResponse(vm.runtime.query(GetWorkload(workload_id=workload_id)))


@router.delete(
    "/v1/vms/{vm_id}/workloads/{workload_id}", operation_id="delete_workload", status_code=204
)
async def delete_workload(vm: VmDep, workload_id: WorkloadPath) -> Response:
    """Delete a workload."""
    return await run(vm, DeleteWorkload(workload_id=workload_id))


@router.get("/v1/vms/{vm_id}/clock", operation_id="get_clock", response_model=Clock)
async def get_clock(vm: VmDep) -> Response:
    """Return the virtual clock."""
    return JsonResponse(vm.runtime.query(GetClock()))


@router.post(
    "/v1/vms/{vm_id}/clock/advance",
    operation_id="advance_clock",
    response_model=Clock,
    openapi_extra=json_request(_ADVANCE),
)
async def advance_clock(
    vm: VmDep, body: Annotated[AdvanceClock, Depends(json_body(_ADVANCE))]
) -> Response:
    """Advance the clock while the guest is paused."""
    return await run(vm, body)


@router.post(
    "/v1/vms/{vm_id}/guest/run",
    operation_id="run_guest",
    response_model=GuestRun,
    openapi_extra=json_request(_RUN),
)
async def run_guest(vm: VmDep, body: Annotated[RunGuest, Depends(json_body(_RUN))]) -> Response:
    """Run the guest: the workloads write for some virtual time."""
    return await run(vm, body)


@router.post(
    "/v1/vms/{vm_id}/track-versions",
    operation_id="track_versions",
    response_model=VmInfo,
    openapi_extra=json_request(_TRACK),
)
async def track_versions(
    vm: VmDep, body: Annotated[TrackVersions, Depends(json_body(_TRACK))]
) -> Response:
    """Track page versions from now on, or no longer."""
    return await run(vm, body)
