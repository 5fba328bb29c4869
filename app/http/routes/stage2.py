"""Stage 2 as it can be looked at."""

from functools import partial
from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from .. import operations as do
from ..deps import CountQuery, OptionalCountQuery, VmDep
from ..paging import DEFAULT_LIMIT, MAX_LIMIT, Limit
from ..routing import resource_router
from ..schemas.stage2 import Stage2Out, Window

router = resource_router("stage 2")

GfnToken = Annotated[
    str,
    Query(
        pattern=r"^([0-9a-f]{16})?$",
        description="The next_page_token of the page before; empty: from gfn.",
    ),
]


@router.get("/v1/vms/{vm_id}/stage2", operation_id="get_stage2", response_model=Stage2Out)
async def get_stage2(
    vm: VmDep,
    gfn: CountQuery = 0,
    count: OptionalCountQuery = None,
    limit: Limit = DEFAULT_LIMIT,
    page_token: GfnToken = "",
) -> Response:
    """Show a range of guest frames (to the end of the IPA space) as runs of equal pages."""
    window = Window(gfn, count, min(limit, MAX_LIMIT), int(page_token or "0", 16))
    return await do.run_look(vm, partial(do.look_at_stage2, vm, window))
