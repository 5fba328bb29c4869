"""The dirty log: get, peek, clear.

`Accept: application/octet-stream` asks for the ioctl's own bytes and wins over `format`.
"""

from functools import partial
from typing import Annotated, Any, Final

from fastapi import Query
from starlette.responses import Response

from hacdbs_sim.sim.actions import ClearDirtyLog, GetDirtyLog

from .. import operations as do
from ..accept import AcceptsOctets
from ..bodies import ClearBody
from ..deps import FirstPageQuery, OptionalCountQuery, SlotPath, TruthQuery, VmDep
from ..openapi import pages_request
from ..responses import OCTETS_MEDIA_TYPE
from ..routing import resource_router
from ..schemas.dirty_log import ClearIn, DirtyLogOut, LogForm

router = resource_router("dirty log")

_PATH: Final = "/v1/vms/{vm_id}/memslots/{slot}/dirty-log"
_WITH_OCTETS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {
            "application/json": {},
            OCTETS_MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}},
        },
        "headers": {
            do.REPORT_HEADER: {
                "description": "With octets: the JSON answer without pages and trace.",
                "required": False,
                "schema": {"type": "string", "maxLength": 4096},
            }
        },
    }
}

FormQuery = Annotated[
    LogForm,
    Query(alias="format", description="How pages are answered; ignored where octets are accepted."),
]


def _written(slot: int, form: LogForm, as_octets: bool) -> do.Written | None:  # noqa: FBT001 - a route's
    return None if as_octets else (slot, form)


@router.post(
    _PATH + "/get",
    operation_id="get_dirty_log",
    response_model=DirtyLogOut,
    responses=_WITH_OCTETS,
)
async def get_dirty_log(
    vm: VmDep,
    slot: SlotPath,
    *,
    as_octets: AcceptsOctets,
    cpu: OptionalCountQuery = None,
    form: FormQuery = LogForm.RANGES,
    trace: TruthQuery = False,
) -> Response:
    """Take the dirty log (KVM_GET_DIRTY_LOG); without manual protect this clears it."""
    action = GetDirtyLog(slot, cpu, trace)
    operation = do.get_as_octets if as_octets else partial(do.get_dirty_log, form=form)
    return await do.run_alone(
        vm, action, partial(operation, vm, action), written=_written(slot, form, as_octets)
    )


@router.get(
    _PATH, operation_id="peek_dirty_log", response_model=DirtyLogOut, responses=_WITH_OCTETS
)
async def peek_dirty_log(
    vm: VmDep,
    slot: SlotPath,
    *,
    as_octets: AcceptsOctets,
    form: FormQuery = LogForm.RANGES,
) -> Response:
    """Look at the dirty log without any side effect."""
    operation = do.peek_as_octets if as_octets else partial(do.peek_dirty_log, form=form)
    return await do.run_peek(
        vm, slot, partial(operation, vm, slot), written=_written(slot, form, as_octets)
    )


@router.post(
    _PATH + "/clear",
    operation_id="clear_dirty_log",
    response_model=DirtyLogOut,
    openapi_extra=pages_request(
        ClearIn,
        "Pages to clear; as octets: the ioctl's bitmap, bit 0 being first_page.",
    ),
)
async def clear_dirty_log(
    vm: VmDep,
    slot: SlotPath,
    *,
    pages: ClearBody,
    first_page: FirstPageQuery = 0,
    num_pages: OptionalCountQuery = None,
    cpu: OptionalCountQuery = None,
    trace: TruthQuery = False,
) -> Response:
    """Clear pages of the dirty log (KVM_CLEAR_DIRTY_LOG)."""
    action = ClearDirtyLog(slot, pages, first_page, num_pages, cpu, trace)
    return await do.run_alone(vm, action, partial(do.clear_dirty_log, vm, action))
