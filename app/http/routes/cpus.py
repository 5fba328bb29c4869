"""Host CPUs and their HACDBS units."""

from typing import Annotated, Any, Final

from fastapi import Depends
from starlette.responses import Response

from hacdbs_sim.model import CpuInfo, CpuList, GetCpu, ListCpus, SetCpu
from hacdbs_sim.wire import body_class

from ..bodies import json_body
from ..deps import CpuPath, PageDep, VmDep
from ..openapi import json_request
from ..operations import run
from ..paging import number_key
from ..responses import JsonResponse
from ..routing import resource_router

router = resource_router("cpus")

_BODY: Final = body_class(SetCpu, without=frozenset({"cpu"}))


@router.get("/v1/vms/{vm_id}/cpus", operation_id="list_cpus", response_model=CpuList)
async def list_cpus(vm: VmDep, page: PageDep) -> Response:
    """List the host CPUs, by number."""
    cpus, token = page.of(vm.runtime.query(ListCpus()), key=lambda each: number_key(each.cpu))
    return JsonResponse(CpuList(cpus=tuple(cpus), next_page_token=token))


@router.get("/v1/vms/{vm_id}/cpus/{cpu}", operation_id="get_cpu", response_model=CpuInfo)
async def get_cpu(vm: VmDep, cpu: CpuPath) -> Response:
    """Return a host CPU and its unit."""
    return JsonResponse(vm.runtime.query(GetCpu(cpu=cpu)))


@router.patch(
    "/v1/vms/{vm_id}/cpus/{cpu}",
    operation_id="set_cpu",
    response_model=CpuInfo,
    openapi_extra=json_request(_BODY),
)
async def set_cpu(
    vm: VmDep, cpu: CpuPath, body: Annotated[dict[str, Any], Depends(json_body(_BODY))]
) -> Response:
    """Plug a CPU in or out."""
    return await run(vm, SetCpu(cpu=cpu, **body))
