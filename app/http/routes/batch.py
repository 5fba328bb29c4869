"""The batch: many actions under one lock."""

from typing import Annotated

from starlette.requests import Request
from starlette.responses import Response

from hacdbs_sim.model import Batch, BatchResults

from ..batches import perform_all
from ..bodies import json_body
from ..deps import VmDep
from ..operations import work_of_batch
from ..routing import resource_router

router = resource_router("batch")


@router.post("/v1/vms/{vm_id}/batch", response_model=BatchResults)
async def run_batch(
    request: Request, vm: VmDep, batch: Annotated[Batch, json_body(Batch, None)]
) -> Response:
    """Perform actions in order up to the first refusal; earlier ones stay done."""
    path, actions = request.scope["path"], batch.actions
    return await vm.runtime.run(
        lambda: perform_all(vm, actions, path), work=lambda: work_of_batch(vm, actions)
    )
