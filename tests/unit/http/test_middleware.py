"""The middleware: request id, Host, origin, token, count."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.http.logs import make_logger
from app.http.metrics import Metrics
from app.http.middleware import ServiceMiddleware
from app.http.responses import JsonResponse
from app.service.fleet import Fleet
from app.service.limits import Limits
from tests.unit.http.requests import answer_of, scope_of

pytestmark = pytest.mark.anyio

HOST = ("Host", "localhost:8000")
Served = Callable[[Scope, Receive, Send], Awaitable[None]]


async def served(scope: Scope, receive: Receive, send: Send) -> None:
    await JsonResponse({"served": True})(scope, receive, send)


def guarding(app: Served, metrics: Metrics | None = None, **given: Any) -> ServiceMiddleware:
    return ServiceMiddleware(
        app,
        metrics=metrics or Metrics(Fleet(Limits())),
        logger=make_logger("json", "info"),
        **{"allowed_hosts": ("localhost",), "token": None, "instance": "0" * 16, **given},
    )


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "line\n"])
async def test_a_request_without_a_sane_id_gets_one(given: str) -> None:
    guard = guarding(served)

    ids = [
        (await answer_of(guard, scope_of("GET", "/v1/vms", HOST, ("X-Request-Id", given))))[1][
            "x-request-id"
        ]
        for _ in range(2)
    ]

    assert len({*ids, given}) == 3


async def test_a_sane_id_is_returned() -> None:
    scope = scope_of("GET", "/v1/vms", HOST, ("X-Request-Id", "job-7.a:1"))

    _, headers, _ = await answer_of(guarding(served), scope)

    assert headers["x-request-id"] == "job-7.a:1"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 400),
        ([("Host", "elsewhere.example")], 400),
        ([("Host", "LOCALHOST")], 200),
        ([HOST, ("Origin", "http://localhost:8000")], 200),
        ([HOST, ("Origin", "http://localhost:9000")], 403),
        ([HOST, ("Origin", "null")], 403),
        ([HOST, ("Origin", "http://localhost:8000"), ("Origin", "http://localhost:8000")], 403),
    ],
)
async def test_a_request_comes_from_an_allowed_host_and_the_services_own_pages(
    headers: list[tuple[str, str]], status: int
) -> None:
    assert (await answer_of(guarding(served), scope_of("GET", "/v1/vms", *headers)))[0] == status


async def test_an_ipv6_address_is_a_host() -> None:
    guard = guarding(served, allowed_hosts=("[::1]",))

    assert (await answer_of(guard, scope_of("GET", "/v1/vms", ("Host", "[::1]:8000"))))[0] == 200


@pytest.mark.parametrize(
    ("path", "authorization", "status"),
    [
        ("/v1/vms", "Bearer s\xe9cret", 200),
        ("/v1/vms", "bearer  s\xe9cret ", 200),
        ("/v1/vms", "Basic s\xe9cret", 401),
        ("/v1/vms", "Bearer secret", 401),
        ("/v1/vms", "", 401),
        ("/livez", "", 200),
    ],
)
async def test_a_token_is_required_except_for_health(
    path: str, authorization: str, status: int
) -> None:
    scope = scope_of("GET", path, HOST, ("Authorization", authorization))

    answer = await answer_of(guarding(served, token="s\xe9cret"), scope)  # noqa: S106

    assert answer[0] == status
    assert ("www-authenticate" in answer[1]) is (status == 401)


async def test_a_defect_is_an_answer_and_a_line_of_the_log(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive, send
        raise RuntimeError("no such luck")

    status, headers, body = await answer_of(guarding(broken), scope_of("GET", "/v1/vms", HOST))

    assert (status, json.loads(body)["code"]) == (500, "internal_error")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["unhandled", "request"]
    assert {line["request_id"] for line in lines} == {headers["x-request-id"]}


async def test_a_defect_after_the_answer_has_begun_is_the_servers() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("no such luck")

    with pytest.raises(RuntimeError):
        await answer_of(guarding(broken), scope_of("GET", "/v1/vms", HOST))


async def test_a_client_that_disconnects_is_counted_as_499() -> None:
    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive, send
        raise ClientDisconnect

    metrics = Metrics(Fleet(Limits()))

    await answer_of(guarding(reading, metrics), scope_of("BREW", "/v1/vms", HOST))

    expected = b'http_requests_total{method="other",route="none",status="499"} 1.0'
    assert expected in metrics.exposition()


async def test_what_is_not_http_passes() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        seen.append(scope["type"])

    await answer_of(guarding(app), {"type": "lifespan"})

    assert seen == ["lifespan"]
