"""The dirty rate: calc-dirty-rate and query-dirty-rate of QMP, in virtual time."""

from typing import Annotated

from starlette.responses import Response

from hacdbs_sim.model import CalcDirtyRate, DirtyRateInfo, DirtyRateStatus

from ..bodies import json_body
from ..deps import FleetDep, VmDep
from ..responses import JSON_MEDIA_TYPE, show
from ..routing import resource_router

router = resource_router("dirty rate")


@router.post(
    "/v1/vms/{vm_id}/dirty-rate",
    response_model=DirtyRateInfo,
    responses={202: {"description": "Measuring.", "content": {JSON_MEDIA_TYPE: {}}}},
)
async def calc_dirty_rate(
    fleet: FleetDep, vm: VmDep, body: Annotated[CalcDirtyRate, json_body(CalcDirtyRate)]
) -> Response:
    """Run the guest and measure how fast it dirties memory; beside a migration, begin to measure."""
    info = await fleet.dirty_rates.measure(vm.session_id, vm.vm_id, vm.runtime, body)
    if info.status is DirtyRateStatus.MEASURING:
        return await show(info, 202, f"/v1/vms/{vm.vm_id}/dirty-rate")
    return await show(info)


@router.get("/v1/vms/{vm_id}/dirty-rate", response_model=DirtyRateInfo)
async def query_dirty_rate(vm: VmDep) -> Response:
    """Return the last measurement, or the one that goes on."""
    return await show(vm.runtime.dirty_rate.info)
