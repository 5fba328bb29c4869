"""Host CPUs and their HACDBS units."""

from typing import Annotated, Any

from starlette.responses import Response

from hacdbs_sim.model import CpuInfo, CpuList, GetCpu, ListCpus, SetCpu

from ..bodies import json_body
from ..deps import CpuPath, PageDep, VmDep
from ..operations import run
from ..paging import number_key
from ..responses import JsonResponse
from ..routing import resource_router

router = resource_router("cpus")


@router.get("/v1/vms/{vm_id}/cpus", response_model=CpuList)
async def list_cpus(vm: VmDep, page: PageDep) -> Response:
    """List the host CPUs, by number."""
    return page.response(CpuList, vm.runtime.query(ListCpus()), lambda each: number_key(each.cpu))


@router.get("/v1/vms/{vm_id}/cpus/{cpu}", response_model=CpuInfo)
async def get_cpu(vm: VmDep, cpu: CpuPath) -> Response:
    """Return a host CPU and its unit."""
    return JsonResponse(vm.runtime.query(GetCpu(cpu=cpu)))


@router.patch("/v1/vms/{vm_id}/cpus/{cpu}", response_model=CpuInfo)
async def set_cpu(
    vm: VmDep, cpu: CpuPath, body: Annotated[dict[str, Any], json_body(SetCpu, without="cpu")]
) -> Response:
    """Plug a CPU in or out."""
    return await run(vm, SetCpu(cpu=cpu, **body))
