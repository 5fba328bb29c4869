"""The batch: many actions under one lock."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from app.api.batches import perform_all, work_of_batch
from app.api.bodies import json_body
from app.api.deps import VmDep
from app.api.openapi import json_request
from app.api.routing import resource_router
from app.api.schemas.batch import BatchIn, BatchOut

router = resource_router("batch")


@router.post(
    "/v1/vms/{vm_id}/batch",
    operation_id="run_batch",
    response_model=BatchOut,
    openapi_extra=json_request(BatchIn),
)
async def run_batch(
    request: Request, vm: VmDep, body: Annotated[BatchIn, Depends(json_body(BatchIn))]
) -> Response:
    """Perform actions in order up to the first refusal; earlier ones stay done."""
    path = request.scope["path"]
    return await vm.live.run(
        lambda: perform_all(vm, body.actions, path).response(),
        work=lambda: work_of_batch(vm, body.actions),
    )
