"""The batch: many actions under one lock."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from ..batches import perform_all, work_of_batch
from ..bodies import json_body
from ..deps import VmDep
from ..openapi import json_request
from ..routing import resource_router
from ..schemas.batch import BatchIn, BatchOut

router = resource_router("batch")


@router.post(
    "/v1/vms/{vm_id}/batch",
    operation_id="run_batch",
    response_model=BatchOut,
    openapi_extra=json_request(BatchIn),
)
async def run_batch(
    request: Request, vm: VmDep, batch: Annotated[BatchIn, Depends(json_body(BatchIn))]
) -> Response:
    """Perform actions in order up to the first refusal; earlier ones stay done."""
    path = request.scope["path"]
    return await vm.runtime.run(
        lambda: perform_all(vm, batch.actions, path).response(),
        work=lambda: work_of_batch(vm, batch.actions),
    )
