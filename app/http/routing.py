"""The class of the service's routes, and their routers.

In addition to the limits in `parameters.py`, FastAPI does not validate what the routes return: they
return the response as it is sent, and `response_model` only documents it.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from hacdbs_sim.wire import InvalidRequestError, error_at

from .bodies import JsonBody
from .idempotency import answer_once, has_key
from .parameters import ParameterPlan
from .preconditions import read_preconditions, refuse_preconditions
from .rendering import takes_body


async def refuse_body(request: Request) -> None:
    """Refuse a body if the operation reads none: a caller would assume that it was read."""
    async for chunk in request.stream():
        if chunk:
            error = error_at("body", "", "the operation takes no body", bound=0)
            raise InvalidRequestError((error,))


Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    """A route with a parameter plan, which refuses a body where it reads none.

    The operation id is the name of its function. FastAPI gets neither the response model nor the body:
    the wire has their schemas (`openapi.py`).

    Attributes:
        outcome: What an answer shows: a class of the model, or None.
        reader: What reads the body; None without one.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        response_model: Any = None,  # noqa: ANN401 - FastAPI's own
        **options: Any,  # noqa: ANN401 - FastAPI's own
    ) -> None:
        self.outcome = response_model
        self.reader = None
        options["operation_id"] = options.get("operation_id") or endpoint.__name__
        super().__init__(path, endpoint, response_model=None, **options)
        for dependency in self.dependant.dependencies:
            body = getattr(dependency.call, "__self__", None)
            if isinstance(body, JsonBody):
                self.reader = body.reader
                self.openapi_extra = {"requestBody": body.described()}

    @override
    def get_route_handler(self) -> Handler:
        plan = ParameterPlan(self.dependant)
        methods = self.methods or ()

        async def without_body(request: Request) -> Response:
            headers = request.headers
            # A request without either header has no body (RFC 9112, 6.3)
            if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
                await refuse_body(request)
            return await plan(request)

        async def once(request: Request) -> Response:
            return await (answer_once(request, handle) if has_key(request) else handle(request))

        async def without_conditions(request: Request) -> Response:
            refuse_preconditions(request)
            return await inner(request)

        handle: Handler = plan if takes_body(self) or "GET" in methods else without_body
        inner: Handler = once if "POST" in methods else handle
        calls = {dependency.call for dependency in self.dependant.dependencies}
        return inner if read_preconditions in calls else without_conditions


def resource_router(tag: str) -> APIRouter:
    """Return the router of one resource."""
    return APIRouter(tags=[tag], route_class=StrictRoute)
