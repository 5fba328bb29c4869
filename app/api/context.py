"""What routes need of the application, found on its state."""

from dataclasses import dataclass
from typing import cast

from starlette.requests import Request

from app.api.metrics import Metrics
from app.fleet.fleet import Fleet


@dataclass(slots=True)
class Context:
    """The pieces that main joins, and whether the service still takes work."""

    fleet: Fleet
    metrics: Metrics
    max_body_bytes: int
    is_stopping: bool = False


def context_of(request: Request) -> Context:
    """Find the context of the application that serves a request."""
    return cast("Context", request.app.state.context)
