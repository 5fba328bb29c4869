"""Stage 2: how the page tables map each guest frame."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from hacdbs_sim.model import GetStage2, Stage2List

from ..deps import GfnQuery, OptionalCountQuery, VmDep
from ..operations import run_query
from ..paging import DEFAULT_LIMIT, MAX_LIMIT, Limit
from ..responses import Answer
from ..routing import resource_router

router = resource_router("stage 2")

GfnToken = Annotated[
    str,
    Query(
        pattern=r"^([0-9a-f]{16})?$",
        description="The next_page_token of the previous page; empty: from gfn.",
    ),
]


@router.get("/v1/vms/{vm_id}/stage2", response_model=Stage2List)
async def get_stage2(
    vm: VmDep,
    gfn: GfnQuery = 0,
    count: OptionalCountQuery = None,
    limit: Limit = DEFAULT_LIMIT,
    page_token: GfnToken = "",
) -> Response:
    """Return a range of guest frames (to the end of the IPA space) as runs of equal pages."""
    start = max(gfn, int(page_token or "0", 16))
    left = None if count is None else max(gfn + count - start, 0)
    query = GetStage2(gfn=start, count=left, limit=min(limit, MAX_LIMIT))

    def show() -> Answer:
        page = vm.runtime.query(query)
        token = "" if page.next_gfn is None else f"{page.next_gfn:016x}"
        return Answer(Stage2List(runs=page.runs, next_page_token=token))

    return await run_query(vm, show, of_all_memslots=True)
