"""Memslots: what KVM_SET_USER_MEMORY_REGION sets, and the state of their pages."""

from typing import Annotated, Any, Final

from fastapi import Query
from starlette.responses import Response

from hacdbs_sim import model
from hacdbs_sim.model import ChangedMemslot, Heat, MemslotInfo, MemslotList, SetMemslot
from hacdbs_sim.model.guest import DEFAULT_VERSIONS

from ..bodies import json_body
from ..deps import (
    CountQuery,
    FirstPageQuery,
    OptionalPositiveCountQuery,
    PageDep,
    SlotPath,
    VmDep,
)
from ..operations import run, run_query
from ..paging import number_key
from ..preconditions import PreconditionsDep, memslot_etag
from ..responses import CREATED, Answer, respond
from ..routing import resource_router

router = resource_router("memslots")

DEFAULT_BINS: Final = 1_024
BinsQuery = Annotated[model.Bins, Query(description="The maximum number of bins.")]
VersionsQuery = Annotated[model.VersionsWindow, Query(description="The maximum number of pages.")]


@router.put("/v1/vms/{vm_id}/memslots/{slot}", response_model=ChangedMemslot, responses=CREATED)
async def set_memslot(
    vm: VmDep,
    slot: SlotPath,
    preconditions: PreconditionsDep,
    body: Annotated[dict[str, Any], json_body(SetMemslot, without="slot")],
) -> Response:
    """Create, move, re-flag or (size 0) delete a memslot."""
    return await run(vm, SetMemslot(slot=slot, **body), preconditions=preconditions)


@router.get("/v1/vms/{vm_id}/memslots", response_model=MemslotList)
async def list_memslots(vm: VmDep, page: PageDep) -> Response:
    """List the memslots, by number."""

    def show() -> Response:
        slots = vm.runtime.query(model.ListMemslots())
        return page.response(MemslotList, slots, lambda each: number_key(each.slot))

    return await respond(show, vm.runtime.work_of_showing())


@router.get("/v1/vms/{vm_id}/memslots/{slot}", response_model=MemslotInfo)
async def get_memslot(vm: VmDep, slot: SlotPath) -> Response:
    """Return a memslot."""
    etag = memslot_etag(vm, slot)
    return Answer(vm.runtime.query(model.GetMemslot(slot=slot)), etag=etag).response()


@router.delete("/v1/vms/{vm_id}/memslots/{slot}", status_code=204)
async def delete_memslot(vm: VmDep, slot: SlotPath, preconditions: PreconditionsDep) -> Response:
    """Delete a memslot: the ioctl with a size of 0."""
    return await run(vm, model.DeleteMemslot(slot=slot), preconditions=preconditions)


@router.get("/v1/vms/{vm_id}/memslots/{slot}/heat", response_model=Heat)
async def get_heat(
    vm: VmDep,
    slot: SlotPath,
    bins: BinsQuery = DEFAULT_BINS,
    first_page: FirstPageQuery = 0,
    num_pages: OptionalPositiveCountQuery = None,
) -> Response:
    """Return a memslot, or a part of it, as a heat map: dirty pages and states of stage 2, by bin."""
    query = model.GetHeat(slot=slot, bins=bins, first_page=first_page, num_pages=num_pages)
    return await run_query(vm, lambda: Answer(vm.runtime.query(query)))


@router.get("/v1/vms/{vm_id}/memslots/{slot}/page-versions", response_model=model.SlotVersions)
async def get_page_versions(
    vm: VmDep,
    slot: SlotPath,
    first_page: CountQuery = 0,
    num_pages: VersionsQuery = DEFAULT_VERSIONS,
) -> Response:
    """Return which write last touched each page of a window, where versions are tracked."""
    query = model.GetPageVersions(slot=slot, first_page=first_page, num_pages=num_pages)
    return await run_query(vm, lambda: Answer(vm.runtime.query(query)))
