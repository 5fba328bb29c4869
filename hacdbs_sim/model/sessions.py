"""Sessions: VMs that belong together and are reset together."""

from dataclasses import dataclass
from typing import Annotated, Final

from hacdbs_sim.model.base import Model, Request
from hacdbs_sim.model.kinds import Count, Pattern

DEFAULT_SESSION: Final = "default"
"""The session that always exists."""

SESSION_ID_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
SessionId = Annotated[str, Pattern(SESSION_ID_PATTERN)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateSession(Request):
    """A session to make."""

    session_id: SessionId | None = None
    """Its id; the next free one of s1, s2, ... if absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo(Model):
    """A session."""

    session_id: str
    """Its id."""
    vm_count: Count
    """How many VMs it has."""
    scenario: str | None
    """The name of the scenario that it has; null: none."""
