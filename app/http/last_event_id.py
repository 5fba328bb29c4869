"""Last-Event-ID: where a reader of the event stream continues (WHATWG HTML, 9.2)."""

import re
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import Request

from hacdbs_sim.wire import InvalidRequestError, error_at

LAST_EVENT_ID: Final = "Last-Event-ID"
EVENT_ID_PATTERN: Final = r"^[0-9]{1,15}$"

_EVENT_ID: Final = re.compile(EVENT_ID_PATTERN.removesuffix("$") + r"\Z")


def read_last_event_id(request: Request) -> int | None:
    """Return the id of the last event that a reader of the stream has received."""
    given = request.headers.getlist(LAST_EVENT_ID)
    if not given:
        return None
    if len(given) > 1 or _EVENT_ID.match(given[0]) is None:
        detail = "must be the id of one event, in decimal digits"
        error = error_at("header", LAST_EVENT_ID, detail, bound=EVENT_ID_PATTERN, value=given[0])
        raise InvalidRequestError((error,))
    return int(given[0])


LastEventId = Annotated[int | None, Depends(read_last_event_id)]
