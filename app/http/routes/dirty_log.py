"""The dirty log: get, peek, clear.

`Accept: application/octet-stream` requests the ioctl's own bytes and wins over `format`.
"""

from typing import Annotated, Any, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from hacdbs_sim.model import Bitmap, ClearDirtyLog, DirtyLog, GetDirtyLog, LogFormat, PageRanges

from ..accept import AcceptsOctets
from ..bodies import pages_body
from ..deps import FirstPageQuery, OptionalCountQuery, SlotPath, TruthQuery, VmDep
from ..operations import bytes_of_log, run, run_peek
from ..responses import JSON_MEDIA_TYPE, NOT_JSON, OCTETS_MEDIA_TYPE, REPORT_HEADER
from ..room import hold_of
from ..routing import resource_router

router = resource_router("dirty log")

_PATH: Final = "/v1/vms/{vm_id}/memslots/{slot}/dirty-log"
_WITH_OCTETS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "content": {JSON_MEDIA_TYPE: {}, OCTETS_MEDIA_TYPE: NOT_JSON},
        "headers": {
            REPORT_HEADER: {
                "description": "With octets: the JSON answer without pages and trace.",
                "required": False,
                "schema": {"type": "string", "maxLength": 4096},
            }
        },
    }
}

_CLEARED: Final = pages_body(
    ClearDirtyLog,
    Bitmap,
    "Pages to clear; as octets: the ioctl's bitmap, bit 0 being first_page.",
    without=("slot", "first_page", "num_pages", "cpu", "trace"),
)

FormatQuery = Annotated[
    LogFormat,
    Query(alias="format", description="How pages are written; ignored where octets are accepted."),
]


@router.post(_PATH + "/get", response_model=DirtyLog, responses=_WITH_OCTETS)
async def get_dirty_log(
    request: Request,
    vm: VmDep,
    slot: SlotPath,
    *,
    as_octets: AcceptsOctets,
    cpu: OptionalCountQuery = None,
    log_format: FormatQuery = LogFormat.RANGES,
    trace: TruthQuery = False,
) -> Response:
    """Get the dirty log (KVM_GET_DIRTY_LOG); without manual protect this clears it."""
    action = GetDirtyLog(slot=slot, cpu=cpu, trace=trace)
    form = None if as_octets else log_format
    await hold_of(request).take_more(bytes_of_log(vm, slot, form))
    return await run(vm, action, form)


@router.get(_PATH, response_model=DirtyLog, responses=_WITH_OCTETS)
async def peek_dirty_log(
    request: Request,
    vm: VmDep,
    slot: SlotPath,
    *,
    as_octets: AcceptsOctets,
    log_format: FormatQuery = LogFormat.RANGES,
) -> Response:
    """Peek at the dirty log without any side effect."""
    form = None if as_octets else log_format
    await hold_of(request).take_more(bytes_of_log(vm, slot, form))
    return await run_peek(vm, slot, form)


@router.post(_PATH + "/clear", response_model=DirtyLog)
async def clear_dirty_log(
    vm: VmDep,
    slot: SlotPath,
    *,
    pages: Annotated[Bitmap | PageRanges, _CLEARED],
    first_page: FirstPageQuery = 0,
    num_pages: OptionalCountQuery = None,
    cpu: OptionalCountQuery = None,
    trace: TruthQuery = False,
) -> Response:
    """Clear pages of the dirty log (KVM_CLEAR_DIRTY_LOG)."""
    action = ClearDirtyLog(
        slot=slot, pages=pages, first_page=first_page, num_pages=num_pages, cpu=cpu, trace=trace
    )
    return await run(vm, action)
