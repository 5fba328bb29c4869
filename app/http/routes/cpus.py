"""Host CPUs and their HACDBS units."""

from functools import partial
from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from hacdbs_sim.sim.actions import SetCpuOnline

from .. import operations as do
from ..bodies import json_body
from ..deps import CpuPath, PageDep, VmDep
from ..openapi import json_request
from ..paging import number_key
from ..responses import JsonResponse
from ..routing import resource_router
from ..schemas.cpus import CpuIn, CpuListOut, CpuOut, cpu_out

router = resource_router("cpus")


@router.get("/v1/vms/{vm_id}/cpus", operation_id="list_cpus", response_model=CpuListOut)
async def list_cpus(vm: VmDep, page: PageDep) -> Response:
    """List the host CPUs, by number."""
    views, token = page.of(vm.runtime.machine.cpus(), key=lambda view: number_key(view.cpu))
    return JsonResponse({"cpus": [cpu_out(view) for view in views], "next_page_token": token})


@router.get("/v1/vms/{vm_id}/cpus/{cpu}", operation_id="get_cpu", response_model=CpuOut)
async def get_cpu(vm: VmDep, cpu: CpuPath) -> Response:
    """Show a host CPU and its unit."""
    return JsonResponse(cpu_out(vm.runtime.machine.cpu(cpu)))


@router.patch(
    "/v1/vms/{vm_id}/cpus/{cpu}",
    operation_id="set_cpu",
    response_model=CpuOut,
    openapi_extra=json_request(CpuIn),
)
async def set_cpu(
    vm: VmDep, cpu: CpuPath, body: Annotated[CpuIn, Depends(json_body(CpuIn))]
) -> Response:
    """Plug a CPU in or out."""
    action = SetCpuOnline(cpu, body.online)
    return await do.run_alone(vm, action, partial(do.set_cpu, vm, action))
