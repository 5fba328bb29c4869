"""The parameters of long polls, and the mark of requests that wait."""

from typing import Annotated, Final

from fastapi import Query

from hacdbs_sim.model.kinds import whole

MAX_WAIT_SECONDS: Final = 60
"""The maximum time that a call waits."""

WAIT_PARAMETER: Final = "wait_seconds"

WAITS: Final = "hacdbs.waits"
"""In the scope of a request that waits, or an event stream: how long it takes says nothing about the service."""

Seconds = Annotated[int, whole(le=MAX_WAIT_SECONDS)]

WaitSeconds = Annotated[
    Seconds,
    Query(description="The maximum time to wait; after that the current status is returned."),
]
