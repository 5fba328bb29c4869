"""Events of the service: as a list, by long polling, or as a stream.

`Accept: text/event-stream` requests the stream, as a browser's EventSource does.
"""

from typing import Annotated, Any, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from hacdbs_sim.model import EventPage, EventType

from ...service.events import EventFilter
from ..accept import AcceptsEvents
from ..deps import FleetDep, OptionalCountQuery
from ..event_stream import EventStream, LastEventId, first_page
from ..long_poll import Seconds
from ..paging import DEFAULT_LIMIT, MAX_LIMIT, Limit
from ..responses import EVENTS_MEDIA_TYPE, JSON_MEDIA_TYPE, NOT_JSON, show
from ..routing import resource_router

router = resource_router("events")

_WITH_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {JSON_MEDIA_TYPE: {}, EVENTS_MEDIA_TYPE: NOT_JSON}}
}
_TYPE_NAMES: Final = "|".join(kind.value for kind in EventType)

EventTypes = Annotated[
    str,
    Query(
        alias="type",
        pattern=rf"^(({_TYPE_NAMES})(,({_TYPE_NAMES}))*)?$",
        max_length=256,
        description="Only events of these types, comma separated; empty: all types.",
    ),
]
OnlyOf = Annotated[str, Query(max_length=128)]
WaitSeconds = Annotated[
    Seconds,
    Query(
        description="The maximum time to wait for an event if none is available; a stream always waits."
    ),
]


@router.get("/v1/events", response_model=EventPage, responses=_WITH_STREAM)
async def list_events(
    request: Request,
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
    """List the events after an id; the default is all kept ones, or for a stream all new ones."""
    kinds = frozenset(map(EventType, types.split(","))) if types else None
    log, wanted = fleet.events, EventFilter(kinds, session_id or None, vm_id or None)
    position = after if last_event_id is None else last_event_id
    if as_stream:
        start = log.last_event_id if position is None else position
        return EventStream(log.open_reader(start, wanted))
    start = log.oldest_event_id - 1 if position is None else position
    page = log.after(start, wanted, min(limit, MAX_LIMIT))
    if wait_seconds and not (page.events or page.stale):
        reader = log.open_reader(page.next_after, wanted)
        page = await first_page(reader, min(limit, MAX_LIMIT), wait_seconds, request.receive)
    return await show(page)
