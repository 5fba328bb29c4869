"""Memslots: KVM_SET_USER_MEMORY_REGION."""

from functools import partial
from typing import Annotated

from fastapi import Depends
from starlette.responses import Response

from hacdbs_sim.sim.actions import SetMemoryRegion

from .. import operations as do
from ..bodies import json_body
from ..deps import PageDep, SlotPath, VmDep
from ..openapi import json_request
from ..paging import number_key
from ..preconditions import PreconditionsDep, memslot_etag
from ..responses import Answer, JsonResponse
from ..routing import resource_router
from ..schemas.heat import DEFAULT_BINS, BinsQuery, HeatOut
from ..schemas.memslots import (
    MemslotChangeOut,
    MemslotIn,
    MemslotListOut,
    MemslotOut,
    memslot_out,
)

router = resource_router("memslots")


@router.put(
    "/v1/vms/{vm_id}/memslots/{slot}",
    operation_id="set_memslot",
    response_model=MemslotChangeOut,
    responses={201: {"model": MemslotChangeOut, "description": "Created."}},
    openapi_extra=json_request(MemslotIn),
)
async def set_memslot(
    vm: VmDep,
    slot: SlotPath,
    preconditions: PreconditionsDep,
    body: Annotated[MemslotIn, Depends(json_body(MemslotIn))],
) -> Response:
    """Create, move, re-flag or (size 0) delete a memslot."""
    action = body.to_domain(slot)
    return await do.run_alone(vm, action, partial(do.set_memslot, vm, action, preconditions))


@router.get("/v1/vms/{vm_id}/memslots", operation_id="list_memslots", response_model=MemslotListOut)
async def list_memslots(vm: VmDep, page: PageDep) -> Response:
    """List the memslots, by number."""
    views, token = page.of(vm.runtime.machine.memslots(), key=lambda view: number_key(view.slot))
    return JsonResponse({"memslots": [memslot_out(v) for v in views], "next_page_token": token})


@router.get(
    "/v1/vms/{vm_id}/memslots/{slot}", operation_id="get_memslot", response_model=MemslotOut
)
async def get_memslot(vm: VmDep, slot: SlotPath) -> Response:
    """Show a memslot."""
    etag = memslot_etag(vm, slot)
    return Answer(memslot_out(vm.runtime.machine.memslot(slot)), etag=etag).response()


@router.delete("/v1/vms/{vm_id}/memslots/{slot}", operation_id="delete_memslot", status_code=204)
async def delete_memslot(vm: VmDep, slot: SlotPath, preconditions: PreconditionsDep) -> Response:
    """Delete a memslot: the ioctl with a size of 0."""
    operation = partial(do.delete_memslot, vm, slot, preconditions)
    return await do.run_alone(vm, SetMemoryRegion(slot), operation)


@router.get("/v1/vms/{vm_id}/memslots/{slot}/heat", operation_id="get_heat", response_model=HeatOut)
async def get_heat(vm: VmDep, slot: SlotPath, bins: BinsQuery = DEFAULT_BINS) -> Response:
    """Show a memslot as a heat map: dirty pages, and states of stage 2, by bin."""
    return await do.run_look(vm, partial(do.look_at_heat, vm, slot, bins))
