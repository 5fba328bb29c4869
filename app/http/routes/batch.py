"""The batch: many actions under one lock."""

from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from ..batches import perform_all, perform_plain, work_of_batch, work_of_plain
from ..bodies import decode, media_type_of, read_body, validate
from ..deps import VmDep
from ..openapi import json_request
from ..plain_accesses import PlainBatch, plain_batch_of
from ..responses import JSON_MEDIA_TYPE
from ..routing import resource_router
from ..schemas.batch import BatchIn, BatchOut

router = resource_router("batch")


def _batch_of(body: bytes) -> BatchIn | PlainBatch:
    return plain_batch_of(body) or validate(BatchIn, body)


async def read_batch(request: Request) -> BatchIn | PlainBatch:
    """Read a batch."""
    media_type_of(request, JSON_MEDIA_TYPE)
    return await decode(_batch_of, await read_body(request, BatchIn.max_bytes))


@router.post(
    "/v1/vms/{vm_id}/batch",
    operation_id="run_batch",
    response_model=BatchOut,
    openapi_extra=json_request(BatchIn),
)
async def run_batch(
    request: Request, vm: VmDep, batch: Annotated[BatchIn | PlainBatch, Depends(read_batch)]
) -> Response:
    """Perform actions in order up to the first refusal; earlier ones stay done."""
    path = request.scope["path"]
    if isinstance(batch, PlainBatch):
        return await vm.runtime.run(
            lambda: perform_plain(vm, batch, path).response(), work=lambda: work_of_plain(vm, batch)
        )
    actions = batch.actions
    return await vm.runtime.run(
        lambda: perform_all(vm, actions, path).response(),
        work=lambda: work_of_batch(vm, actions),
    )
