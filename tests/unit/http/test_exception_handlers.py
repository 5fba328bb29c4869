"""Refusals of the router, as problem documents."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request

from app.http.rendering import install

pytestmark = pytest.mark.anyio


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI(openapi_url=None)

    def handle() -> None: ...

    install(
        app, [APIRoute("/things/{number}", handle, methods=[each]) for each in ("GET", "DELETE")]
    )
    return app


async def answered(app: FastAPI, path: str, status: int) -> tuple[Any, Any]:
    request = Request({"type": "http", "path": path, "headers": []})
    handler: Any = app.exception_handlers[HTTPException]
    response = await handler(request, HTTPException(status, "why"))
    assert response.status_code == status
    return json.loads(bytes(response.body)), response.headers.get("allow")


async def test_a_wrong_method_gets_those_of_every_route_of_the_path(
    app: FastAPI,
) -> None:
    problem, allow = await answered(app, "/things/7", 405)

    assert (problem["code"], allow) == ("method_not_allowed", "DELETE, GET")


async def test_a_path_that_is_not_served_is_named(app: FastAPI) -> None:
    problem, allow = await answered(app, "/others", 404)

    assert (problem["code"], problem["instance"], allow) == ("no_such_path", "/others", None)


async def test_another_refusal_keeps_its_words(app: FastAPI) -> None:
    problem, _ = await answered(app, "/things/7", 400)

    assert (problem["code"], problem["detail"]) == ("bad_request", "why")
