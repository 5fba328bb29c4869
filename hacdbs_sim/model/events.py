"""Events: what happened on the service."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from hacdbs_sim.model.base import Model
from hacdbs_sim.model.kinds import Boolean, Count

Detail: TypeAlias = str | int | bool | None


class EventType(StrEnum):
    """What can happen; docs/events.md lists the details of each."""

    VM_CREATED = "vm_created"
    VM_DELETED = "vm_deleted"
    SESSION_RESET = "session_reset"
    SESSION_DELETED = "session_deleted"
    FAULT_HIT = "fault_hit"
    FELL_BACK = "fell_back"
    CPU_CHANGED = "cpu_changed"
    MIGRATION = "migration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Model):
    """Something that happened.

    Attributes:
        event_id: From 1, without gaps.
        type: What.
        session_id: Its session.
        vm_id: The VM that it happened to; null where it was a whole session.
        now_ns: The VM's virtual clock at the time.
        details: More of it, by type.
    """

    event_id: Count
    type: EventType
    session_id: str
    vm_id: str | None
    now_ns: Count
    details: Mapping[str, Detail]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage(Model):
    """Events behind a position, oldest first.

    Attributes:
        events: Those requested.
        next_after: The position to go on from.
        oldest_event_id: The first event that is still kept; the next one, where none is.
        last_event_id: The last event that happened; 0 before the first.
        stale: Whether events behind the requested position are gone, or it is none of this
            service's.
    """

    events: tuple[Event, ...]
    next_after: Count
    oldest_event_id: Count
    last_event_id: Count
    stale: Boolean


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleReader(Model):
    """In a stream: what the reader missed is gone; it continues from the oldest event kept.

    Attributes:
        oldest_event_id: The first event that is still kept.
        last_event_id: The last event that happened.
    """

    oldest_event_id: Count
    last_event_id: Count
