"""What routes need of the application, found on it."""

from dataclasses import dataclass
from typing import Protocol, cast

from starlette.requests import Request

from ..service.fleet import Fleet
from .metrics import Metrics


@dataclass(slots=True)
class Context:
    """The pieces that main joins, and whether the service still takes work."""

    fleet: Fleet
    metrics: Metrics
    max_body_bytes: int
    is_stopping: bool = False


class HasContext(Protocol):
    """An application as main makes it."""

    context: Context


def context_of(request: Request) -> Context:
    """Find the context of the application that serves a request."""
    return cast("HasContext", request.scope["app"]).context
