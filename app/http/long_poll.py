"""What long polls of background work share."""

from typing import Annotated

from fastapi import Query

from .schemas.fields import WaitSecondsText

WaitSeconds = Annotated[
    WaitSecondsText, Query(description="The longest to wait; then the answer is how it stands.")
]
