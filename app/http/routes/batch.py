"""The batch: many actions under one lock."""

from typing import Annotated, Final

from starlette.requests import Request
from starlette.responses import Response

from hacdbs_sim.model import Batch, BatchResults

from ..batches import perform_all
from ..bodies import json_body
from ..deps import VmDep
from ..operations import bytes_of_answers, work_of_batch
from ..room import hold_of
from ..routing import resource_router

router = resource_router("batch")

_BODY: Final = json_body(Batch, None, setting="max_batch_bytes")


@router.post("/v1/vms/{vm_id}/batch", response_model=BatchResults)
async def run_batch(request: Request, vm: VmDep, batch: Annotated[Batch, _BODY]) -> Response:
    """Perform actions in order up to the first refusal; earlier ones stay done."""
    path, actions = request.scope["path"], batch.actions
    await hold_of(request).take_more(bytes_of_answers(vm, actions))
    return await vm.runtime.run(
        lambda: perform_all(vm, actions, path), work=lambda: work_of_batch(vm, actions)
    )
