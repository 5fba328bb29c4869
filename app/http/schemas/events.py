"""Events: what happened on the service."""

from typing import Annotated, Final, Literal

from fastapi import Query
from typing_extensions import TypedDict

from ...service.events import Detail, Event, EventFilter, EventPage, EventType
from .base import answer

_TYPE_NAMES: Final = "|".join(kind.value for kind in EventType)

LAST_EVENT_ID: Final = "Last-Event-ID"
EVENT_ID_PATTERN: Final = r"^[0-9]{1,15}$"

EventTypes = Annotated[
    str,
    Query(
        alias="type",
        pattern=rf"^(({_TYPE_NAMES})(,({_TYPE_NAMES}))*)?$",
        max_length=256,
        description="Only events of these types, comma separated; empty: of all.",
    ),
]


@answer
class EventOut(TypedDict):
    """Something that happened; `vm_id` is null where it was a whole session."""

    event_id: int
    type: Literal[
        "vm_created",
        "vm_deleted",
        "session_reset",
        "session_deleted",
        "fault_hit",
        "fell_back",
        "cpu_changed",
        "migration",
    ]
    session_id: str
    vm_id: str | None
    now_ns: int
    details: dict[str, str | int | bool | None]


@answer
class EventsOut(TypedDict):
    """Events behind a position, oldest first; `next_after` is the position to go on from.

    `stale`: events behind the position asked for are gone, or it is none of this service's.
    """

    events: list[EventOut]
    next_after: int
    oldest_event_id: int
    last_event_id: int
    stale: bool


@answer
class StaleOut(TypedDict):
    """In a stream: what the reader missed is gone; it goes on from the oldest event kept."""

    oldest_event_id: int
    last_event_id: int


def filter_of(types: str, session_id: str, vm_id: str) -> EventFilter:
    """Give the filter that a query asks for."""
    kinds = frozenset(map(EventType, types.split(","))) if types else None
    return EventFilter(kinds, session_id or None, vm_id or None)


def event_out(event: Event) -> EventOut:
    """Project an event."""
    details: dict[str, Detail] = dict(event.details)
    return {
        "event_id": event.event_id,
        "type": event.type.value,
        "session_id": event.session_id,
        "vm_id": event.vm_id,
        "now_ns": event.now_ns,
        "details": details,
    }


def events_out(page: EventPage) -> EventsOut:
    """Project what a reader has not seen."""
    return {
        "events": [event_out(event) for event in page.events],
        "next_after": page.next_after,
        "oldest_event_id": page.oldest_event_id,
        "last_event_id": page.last_event_id,
        "stale": page.stale,
    }
