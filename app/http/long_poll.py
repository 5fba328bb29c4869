"""What long polls of background work share."""

from typing import Annotated

from fastapi import Query
from starlette.requests import Request

from ..service.migration_tasks import Waiter
from .event_stream import end_at_stop
from .schemas.fields import WaitSecondsText

WaitSeconds = Annotated[
    WaitSecondsText, Query(description="The longest to wait; then the answer is how it stands.")
]


def open_waiter(request: Request) -> Waiter:
    """Make somebody who waits, but not when the server begins to stop, where it tells."""
    waiter = Waiter()
    end_at_stop(request.scope, waiter.close)
    return waiter
