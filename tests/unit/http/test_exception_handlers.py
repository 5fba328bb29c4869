"""Refusals of the router, as problem documents."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.http.exception_handlers import RoutingRefusals

pytestmark = pytest.mark.anyio


@pytest.fixture
def refusals() -> RoutingRefusals:
    app = FastAPI(openapi_url=None)

    def handle() -> None: ...

    app.add_api_route("/things/{number}", handle, methods=["GET"])
    app.add_api_route("/things/{number}", handle, methods=["DELETE"])
    return RoutingRefusals(app)


async def answered(refusals: RoutingRefusals, path: str, status: int) -> tuple[Any, Any]:
    request = Request({"type": "http", "path": path, "headers": []})
    response = await refusals(request, HTTPException(status, "why"))
    assert response.status_code == status
    return json.loads(bytes(response.body)), response.headers.get("allow")


async def test_a_wrong_method_gets_those_of_every_route_of_the_path(
    refusals: RoutingRefusals,
) -> None:
    problem, allow = await answered(refusals, "/things/7", 405)

    assert (problem["code"], allow) == ("method_not_allowed", "DELETE, GET")


async def test_a_path_that_is_not_served_is_named(refusals: RoutingRefusals) -> None:
    problem, allow = await answered(refusals, "/others", 404)

    assert (problem["code"], problem["instance"], allow) == ("no_such_path", "/others", None)


async def test_another_refusal_keeps_its_words(refusals: RoutingRefusals) -> None:
    problem, _ = await answered(refusals, "/things/7", 400)

    assert (problem["code"], problem["detail"]) == ("bad_request", "why")
