"""Routes that solve their own parameters, and their routers."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from app.api.problems import error_at
from app.api.responses import PROBLEM_MEDIA_TYPE, JsonResponse
from app.api.solving import Solver
from app.api.validation import invalid_request

# A request without either has no body (RFC 9112, 6.3).
_BODY_HEADERS: Final = frozenset({b"content-length", b"transfer-encoding"})

REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {
        "description": "Refused; the problem document says why.",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
    }
}


def takes_body(route: object) -> bool:
    """Tell whether a route reads a body."""
    return "requestBody" in (getattr(route, "openapi_extra", None) or {})


async def refuse_body(request: Request) -> None:
    """Refuse a body where the operation reads none: it would be acted on as if it had been read."""
    if not any(name in _BODY_HEADERS for name, _ in request.scope["headers"]):
        return
    async for chunk in request.stream():
        if chunk:
            error = error_at("body", "", "the operation takes no body", bound=0)
            raise invalid_request((error,))


class StrictRoute(APIRoute):
    """A route that refuses unknown and repeated parameters and answers a response as it is."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        solver = Solver(self.dependant)
        if takes_body(self) or "GET" in (self.methods or ()):
            return solver.__call__

        async def handle(request: Request) -> Response:
            await refuse_body(request)
            response: Response = await solver(request)
            return response

        return handle


def resource_router(tag: str) -> APIRouter:
    """Make the router of one resource."""
    return APIRouter(
        tags=[tag],
        route_class=StrictRoute,
        default_response_class=JsonResponse,
        responses=REFUSALS,
    )
