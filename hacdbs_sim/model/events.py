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
    """Something that happened."""

    event_id: Count
    """From 1, without gaps."""
    type: EventType
    """What."""
    session_id: str
    """Its session."""
    vm_id: str | None
    """The VM that it happened to; null where it was a whole session."""
    now_ns: Count
    """The VM's virtual clock at the time."""
    details: Mapping[str, Detail]
    """More of it, by type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage(Model):
    """Events behind a position, oldest first."""

    events: tuple[Event, ...]
    """Those requested."""
    next_after: Count
    """The position to go on from."""
    oldest_event_id: Count
    """The first event that is still kept; the next one, where none is."""
    last_event_id: Count
    """The last event that happened; 0 before the first."""
    stale: Boolean
    """Whether events behind the requested position are gone, or it is none of this service's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleReader(Model):
    """In a stream: what the reader missed is gone; it continues from the oldest event kept."""

    oldest_event_id: Count
    """The first event that is still kept."""
    last_event_id: Count
    """The last event that happened."""
