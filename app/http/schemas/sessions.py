"""Sessions: VMs that belong together and are reset together."""

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from ...service.fleet import Session
from .base import Request, answer, omittable

SESSION_ID_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"

SessionId = Annotated[str, Field(pattern=SESSION_ID_PATTERN)]


class SessionIn(Request):
    """A session to make; without an id it gets the next free one of s1, s2, ..."""

    session_id: SessionId = omittable()


@answer
class SessionOut(TypedDict):
    """A session."""

    session_id: str
    vm_count: int


@answer
class SessionListOut(TypedDict):
    """Sessions, by id."""

    sessions: list[SessionOut]
    next_page_token: str


def session_out(session: Session) -> SessionOut:
    """Project a session."""
    return {"session_id": session.session_id, "vm_count": len(session.vms)}
