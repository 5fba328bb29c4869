"""The context of an application, which routes use."""

from dataclasses import dataclass

from starlette.requests import Request

from ..service.fleet import Fleet
from .metrics import Metrics


@dataclass(slots=True)
class Context:
    """The parts that main joins, and whether the service is stopping."""

    fleet: Fleet
    metrics: Metrics
    max_body_bytes: int
    is_stopping: bool = False


def context_of(request: Request) -> Context:
    """Return the context of the application that serves a request."""
    context: Context = request.app.context
    return context
