"""Routes that solve their own parameters, and their routers."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override

from app.api.responses import PROBLEM_MEDIA_TYPE, JsonResponse
from app.api.solving import Solver

REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {
        "description": "Refused; the problem document says why.",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemOut"}}},
    }
}


class StrictRoute(APIRoute):
    """A route that refuses unknown and repeated parameters and answers a response as it is."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return Solver(self.dependant).__call__


def resource_router(tag: str) -> APIRouter:
    """Make the router of one resource."""
    return APIRouter(
        tags=[tag],
        route_class=StrictRoute,
        default_response_class=JsonResponse,
        responses=REFUSALS,
    )
