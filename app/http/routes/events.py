"""What happens on the service: as a list, by waiting for more, or as a stream that goes on.

`Accept: text/event-stream` asks for the stream, as a browser's EventSource does.
"""

import re
from typing import Annotated, Any, Final

from fastapi import Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from ..accept import AcceptsEvents
from ..deps import FleetDep, OptionalCountQuery
from ..event_stream import EventStream, first_page
from ..paging import DEFAULT_LIMIT, MAX_LIMIT, Limit
from ..problems import error_at
from ..responses import EVENTS_MEDIA_TYPE, JsonResponse
from ..routing import resource_router
from ..schemas.events import (
    EVENT_ID_PATTERN,
    LAST_EVENT_ID,
    EventsOut,
    EventTypes,
    events_out,
    filter_of,
)
from ..schemas.fields import WaitSecondsText
from ..validation import invalid_request

router = resource_router("events")

_EVENT_ID: Final = re.compile(EVENT_ID_PATTERN.removesuffix("$") + r"\Z")
_WITH_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {}, EVENTS_MEDIA_TYPE: {"schema": {"type": "string"}}}}
}

OnlyOf = Annotated[str, Query(max_length=128)]
WaitSeconds = Annotated[
    WaitSecondsText,
    Query(description="How long to wait for an event where there is none; a stream waits anyway."),
]


def read_last_event_id(request: Request) -> int | None:
    """Read which event a reader of the stream has seen last."""
    given = request.headers.getlist(LAST_EVENT_ID)
    if not given:
        return None
    if len(given) > 1 or _EVENT_ID.match(given[0]) is None:
        detail = "must be the id of one event, in decimal digits"
        error = error_at("header", LAST_EVENT_ID, detail, bound=EVENT_ID_PATTERN, value=given[0])
        raise invalid_request((error,))
    return int(given[0])


LastEventId = Annotated[int | None, Depends(read_last_event_id)]


@router.get(
    "/v1/events", operation_id="list_events", response_model=EventsOut, responses=_WITH_STREAM
)
async def list_events(
    fleet: FleetDep,
    *,
    as_stream: AcceptsEvents,
    last_event_id: LastEventId,
    after: OptionalCountQuery = None,
    types: EventTypes = "",
    session_id: OnlyOf = "",
    vm_id: OnlyOf = "",
    limit: Limit = DEFAULT_LIMIT,
    wait_seconds: WaitSeconds = 0,
) -> Response:
    """Give the events behind one (`after`): all that are kept, or as a stream those to come."""
    log, wanted = fleet.events, filter_of(types, session_id, vm_id)
    position = after if last_event_id is None else last_event_id
    if as_stream:
        start = log.last_event_id if position is None else position
        return EventStream(log.open_reader(start, wanted))
    start = log.oldest_event_id - 1 if position is None else position
    page = log.after(start, wanted, min(limit, MAX_LIMIT))
    if wait_seconds and not (page.events or page.stale):
        reader = log.open_reader(page.next_after, wanted)
        page = await first_page(reader, min(limit, MAX_LIMIT), wait_seconds)
    return JsonResponse(events_out(page))
