"""Memslots: KVM_SET_USER_MEMORY_REGION."""

from typing import Annotated, Any, Final

from fastapi import Depends, Query
from starlette.responses import Response

from hacdbs_sim.model import (
    Bins,
    ChangedMemslot,
    DeleteMemslot,
    GetHeat,
    GetMemslot,
    GetPageVersions,
    Heat,
    ListMemslots,
    MemslotInfo,
    MemslotList,
    SetMemslot,
    SlotVersions,
    VersionsWindow,
)
from hacdbs_sim.model.guest import DEFAULT_VERSIONS
from hacdbs_sim.wire import body_class

from ..bodies import json_body
from ..deps import CountQuery, PageDep, SlotPath, VmDep
from ..openapi import json_request
from ..operations import run, run_query
from ..paging import number_key
from ..preconditions import PreconditionsDep, memslot_etag
from ..responses import Answer, JsonResponse
from ..routing import resource_router

router = resource_router("memslots")

_BODY: Final = body_class(SetMemslot, without=frozenset({"slot"}))

DEFAULT_BINS: Final = 1_024
VersionsQuery = Annotated[VersionsWindow, Query(description="The maximum number of pages.")]
BinsQuery = Annotated[Bins, Query(description="The maximum number of bins.")]


@router.put(
    "/v1/vms/{vm_id}/memslots/{slot}",
    operation_id="set_memslot",
    response_model=ChangedMemslot,
    responses={201: {"description": "Created.", "content": {"application/json": {}}}},
    openapi_extra=json_request(_BODY),
)
async def set_memslot(
    vm: VmDep,
    slot: SlotPath,
    preconditions: PreconditionsDep,
    body: Annotated[dict[str, Any], Depends(json_body(_BODY))],
) -> Response:
    """Create, move, re-flag or (size 0) delete a memslot."""
    return await run(vm, SetMemslot(slot=slot, **body), preconditions=preconditions)


@router.get("/v1/vms/{vm_id}/memslots", operation_id="list_memslots", response_model=MemslotList)
async def list_memslots(vm: VmDep, page: PageDep) -> Response:
    """List the memslots, by number."""
    slots, token = page.of(vm.runtime.query(ListMemslots()), key=lambda each: number_key(each.slot))
    return JsonResponse(MemslotList(memslots=tuple(slots), next_page_token=token))


@router.get(
    "/v1/vms/{vm_id}/memslots/{slot}", operation_id="get_memslot", response_model=MemslotInfo
)
async def get_memslot(vm: VmDep, slot: SlotPath) -> Response:
    """Return a memslot."""
    etag = memslot_etag(vm, slot)
    return Answer(vm.runtime.query(GetMemslot(slot=slot)), etag=etag).response()


@router.delete("/v1/vms/{vm_id}/memslots/{slot}", operation_id="delete_memslot", status_code=204)
async def delete_memslot(vm: VmDep, slot: SlotPath, preconditions: PreconditionsDep) -> Response:
    """Delete a memslot: the ioctl with a size of 0."""
    return await run(vm, DeleteMemslot(slot=slot), preconditions=preconditions)


@router.get("/v1/vms/{vm_id}/memslots/{slot}/heat", operation_id="get_heat", response_model=Heat)
async def get_heat(vm: VmDep, slot: SlotPath, bins: BinsQuery = DEFAULT_BINS) -> Response:
    """Return a memslot as a heat map: dirty pages, and states of stage 2, by bin."""
    query = GetHeat(slot=slot, bins=bins)
    return await run_query(vm, lambda: Answer(vm.runtime.query(query)))


@router.get(
    "/v1/vms/{vm_id}/memslots/{slot}/page-versions",
    operation_id="get_page_versions",
    response_model=SlotVersions,
)
async def get_page_versions(
    vm: VmDep,
    slot: SlotPath,
    first_page: CountQuery = 0,
    num_pages: VersionsQuery = DEFAULT_VERSIONS,
) -> Response:
    """Return which write last touched each page of a window, where versions are tracked."""
    query = GetPageVersions(slot=slot, first_page=first_page, num_pages=num_pages)
    return await run_query(vm, lambda: Answer(vm.runtime.query(query)))
