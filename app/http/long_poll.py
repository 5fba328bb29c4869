"""What long polls of background work share."""

from typing import Annotated, Final

from fastapi import Query

from hacdbs_sim.model.kinds import whole

MAX_WAIT_SECONDS: Final = 60
"""The longest that a call waits for something to happen."""

Seconds = Annotated[int, whole(le=MAX_WAIT_SECONDS)]

WaitSeconds = Annotated[
    Seconds, Query(description="The longest to wait; then the answer is how it stands.")
]
