"""The tree of paths finds what FastAPI's router finds, and nothing else."""

from typing import Any

import pytest
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from app.http.router import PathRouter
from app.http.routes import ROUTERS
from app.http.routing import resource_router

ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
SEGMENTS = sorted({segment for route in ROUTES for segment in route.path.split("/")})
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"]


async def _rest(scope: Scope, receive: Receive, send: Send) -> None:
    del receive, send
    scope["left"] = True


ROUTER = PathRouter(_rest, routes=ROUTES)


def _scope(method: str, path: str, root_path: str = "") -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": root_path,
        "query_string": b"",
        "headers": [],
    }


def _by_router(scope: Scope) -> dict[str, Any] | None:
    for route in ROUTES:
        match, found = route.matches(scope)
        if match is Match.FULL:
            return {**found, "route": route}
    return None


def _assert_found_alike(method: str, path: str) -> None:
    expected = _by_router(_scope(method, path))
    scope = _scope(method, path)

    handle = ROUTER._find(scope)

    assert (handle is None) == (expected is None), (method, path)
    if expected is not None:
        assert all(scope[name] == expected[name] for name in ("route", "endpoint", "path_params"))


@pytest.mark.parametrize("method", METHODS)
def test_every_path_is_found_as_the_router_finds_it(method: str) -> None:
    for route in ROUTES:
        _assert_found_alike(method, route.path)


@given(
    method=st.sampled_from(METHODS),
    path=st.lists(st.sampled_from([*SEGMENTS, "x", " ", "%2f", "0\n"]), max_size=9).map("/".join),
    lead=st.sampled_from(["/", "", "//", "x/"]),
    tail=st.sampled_from(["", "/", "\r"]),
)
def test_any_path_is_found_as_the_router_finds_it(
    method: str, path: str, lead: str, tail: str
) -> None:
    _assert_found_alike(method, lead + path + tail)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "scope",
    [
        _scope("GET", "/v1/nothing"),
        _scope("GET", "/v1/vms/"),
        _scope("GET", "/v1/vms//cpus"),
        _scope("DELETE", "/v1/vms"),
        _scope("OPTIONS", "*"),
        _scope("GET", "/under/v1/vms", root_path="/under"),
        {"type": "websocket", "path": "/v1/vms"},
    ],
)
async def test_what_no_route_of_ours_serves_is_left_to_the_application(
    scope: dict[str, Any],
) -> None:
    async def receive() -> Message:
        raise AssertionError("nobody reads a body")

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await ROUTER(scope, receive, send)

    assert scope["left"]
    assert "route" not in scope


def test_a_segment_is_a_name_or_a_parameter() -> None:
    router = resource_router("both")

    @router.get("/things/{name}")
    async def by_name(name: str) -> None:
        del name

    @router.get("/things/all")
    async def every() -> None: ...

    with pytest.raises(AssertionError, match="all conflicts with a parameter"):
        PathRouter(_rest, routes=router.routes)
