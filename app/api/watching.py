"""What lists and long polls of background work share."""

from typing import Annotated, Final

from fastapi import Query
from starlette.requests import Request

from app.api.event_stream import ON_STOP
from app.api.paging import number_key
from app.api.schemas.fields import WaitSecondsText
from app.fleet.fleet import Fleet
from app.fleet.migrations import Comparison, Migration
from app.fleet.runs import Waiter

ALL_SESSIONS: Final = "-"

SessionQuery = Annotated[str, Query(description="Which session's; `-`: all sessions'.")]
WaitSeconds = Annotated[
    WaitSecondsText, Query(description="The longest to wait; then the answer is how it stands.")
]


def session_or_all(fleet: Fleet, session_id: str) -> str | None:
    """Read which session's things are listed; None: all sessions'.

    Raises:
        NoSuchSessionError: there is no such session.
    """
    return None if session_id == ALL_SESSIONS else fleet.session(session_id).session_id


def list_key(item: Migration | Comparison) -> bytes:
    """Give where an item stands in a list: by session, then number."""
    return item.session_id.encode() + b"\0" + number_key(item.number)


def open_waiter(request: Request) -> Waiter:
    """Make somebody who waits, but not when the server begins to stop, where it tells."""
    waiter = Waiter()
    if (call_at_stop := request.scope.get("extensions", {}).get(ON_STOP)) is not None:
        call_at_stop(waiter.close)
    return waiter
