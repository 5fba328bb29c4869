"""The parameters of long polls."""

from typing import Annotated, Final

from fastapi import Query

from hacdbs_sim.model.kinds import whole

MAX_WAIT_SECONDS: Final = 60
"""The maximum time that a call waits."""

Seconds = Annotated[int, whole(le=MAX_WAIT_SECONDS)]

WaitSeconds = Annotated[
    Seconds,
    Query(description="The maximum time to wait; after that the current status is returned."),
]
