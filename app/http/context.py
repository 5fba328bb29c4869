"""The context of an application, which routes use."""

from dataclasses import dataclass
from typing import Protocol, cast

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


class HasContext(Protocol):
    """An application as main makes it."""

    context: Context


def context_of(request: Request) -> Context:
    """Return the context of the application that serves a request."""
    return cast("HasContext", request.scope["app"]).context
