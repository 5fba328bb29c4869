"""The batch: many actions under one lock."""

from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from hacdbs_sim.model import Batch, BatchResults
from hacdbs_sim.wire import reader_of

from ..batches import perform_all
from ..bodies import json_body
from ..deps import VmDep
from ..openapi import json_request
from ..operations import work_of_batch
from ..routing import resource_router

router = resource_router("batch")

_BATCH: Final = reader_of(Batch)


@router.post(
    "/v1/vms/{vm_id}/batch",
    operation_id="run_batch",
    response_model=BatchResults,
    openapi_extra=json_request(_BATCH),
)
async def run_batch(
    request: Request, vm: VmDep, batch: Annotated[Batch, Depends(json_body(_BATCH, None))]
) -> Response:
    """Perform actions in order up to the first refusal; earlier ones stay done."""
    path, actions = request.scope["path"], batch.actions
    return await vm.runtime.run(
        lambda: perform_all(vm, actions, path), work=lambda: work_of_batch(vm, actions)
    )
