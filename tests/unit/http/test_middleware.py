"""The middleware: request id, Host, origin, token, count."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.http.metrics import Metrics
from app.http.middleware import ANY_HOST_PATHS, ServiceMiddleware
from app.http.request_log import RequestLog
from app.http.responses import JsonResponse
from app.logs import make_logger
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
        request_log=RequestLog("json"),
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


@pytest.mark.parametrize("allowed", [("localhost", "127.0.0.1", "[::1]", "a.b-c.d"), ("*",)])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("[::1]:8000", 200),
        ("[::1]", 200),
        ("127.0.0.1:1", 200),
        ("localhost:", 200),
        ("A.b-C.d:65535", 200),
        ("[::1]evil.com", 400),
        ("[::1", 400),
        ("[::1]:", 200),
        ("[::1]:x", 400),
        ("[::1]:80:80", 400),
        ("localhost:80:80", 400),
        ("localhost:evil.com", 400),
        ("localhost:999999", 400),
        ("localhost:-1", 400),
        ("localhost/", 400),
        ("user@localhost", 400),
        ("localhost,localhost", 400),
        ("localhost localhost", 400),
        ("localhost\t", 400),
        (".localhost", 400),
        ("localhost\u0660", 400),
        (":80", 400),
        ("", 400),
    ],
)
async def test_a_host_is_a_name_or_an_address_and_perhaps_a_port(
    host: str, status: int, allowed: tuple[str, ...]
) -> None:
    guard = guarding(served, allowed_hosts=allowed)
    scope = scope_of("GET", "/v1/vms")
    scope["headers"] = [(b"host", host.encode("latin-1", "replace"))]

    assert (await answer_of(guard, scope))[0] == status


@pytest.mark.parametrize(
    ("host", "detail"),
    [
        (
            "127.0.0.1:8000",
            'the Host header must name one of HACDBS_ALLOWED_HOSTS (got "127.0.0.1")',
        ),
        ("a b", 'Host must be a name or an address, and perhaps a port (got "a b")'),
    ],
)
async def test_a_refused_host_is_shown(host: str, detail: str) -> None:
    answer = await answer_of(guarding(served), scope_of("GET", "/v1/vms", ("Host", host)))

    assert json.loads(answer[2])["detail"] == detail


@pytest.mark.parametrize(("version", "status"), [("1.0", 200), ("1.1", 400)])
async def test_only_an_old_request_may_have_no_host_where_all_are_allowed(
    version: str, status: int
) -> None:
    scope = scope_of("GET", "/v1/vms") | {"http_version": version}

    assert (await answer_of(guarding(served, allowed_hosts=("*",)), scope))[0] == status
    assert (await answer_of(guarding(served), scope))[0] == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/", 400),
        ("/livez/", 400),
        ("//livez", 400),
        ("/LIVEZ", 400),
        ("/metrics/x", 400),
        ("/version", 400),
        ("/ui", 400),
        ("/v1/vms", 400),
    ],
)
async def test_probes_and_scrapes_alone_call_by_any_address(path: str, status: int) -> None:
    scope = scope_of("GET", path, ("Host", "10.244.3.17:8000"))

    assert (await answer_of(guarding(served), scope))[0] == status


@pytest.mark.parametrize("path", sorted(ANY_HOST_PATHS))
@pytest.mark.parametrize(
    ("headers", "version", "status"),
    [
        ([("Host", "[fd00::17]:8000")], "1.1", 200),
        ([], "1.0", 200),  # a load balancer's check, as HAProxy sends it
        ([], "1.1", 400),
        ([("Host", "")], "1.1", 400),
        ([("Host", "10.0.0.1:port")], "1.1", 400),
        ([("Host", "user@10.0.0.1")], "1.1", 400),
        ([("Host", "10.0.0.1"), ("Host", "10.0.0.1")], "1.1", 400),
        ([("Host", "10.0.0.1"), ("Origin", "http://evil.example")], "1.1", 403),
    ],
)
async def test_what_calls_by_any_address_is_well_formed(
    path: str, headers: list[tuple[str, str]], version: str, status: int
) -> None:
    scope = scope_of("GET", path, *headers) | {"http_version": version}

    assert (await answer_of(guarding(served), scope))[0] == status


async def test_a_scrape_by_any_address_needs_the_token() -> None:
    guard = guarding(served, token="secret")  # noqa: S106 - the test's own
    scope = scope_of("GET", "/metrics", ("Host", "10.244.3.17:8000"))

    assert (await answer_of(guard, scope))[0] == 401


@pytest.mark.parametrize(
    ("headers", "version", "status"),
    [
        ([("Transfer-Encoding", "chunked")], "1.1", 200),
        ([("Transfer-Encoding", "Chunked")], "1.1", 200),
        ([("Transfer-Encoding", "chunked")], "1.0", 400),
        ([("Transfer-Encoding", "gzip, chunked")], "1.1", 400),
        ([("Transfer-Encoding", "chunked, chunked")], "1.1", 400),
        ([("Transfer-Encoding", "identity")], "1.1", 400),
        ([("Transfer-Encoding", "")], "1.1", 400),
        ([("Transfer-Encoding", "chunked"), ("Content-Length", "0")], "1.1", 400),
        ([("Content-Length", "0"), ("Content-Length", "0")], "1.1", 400),
    ],
)
async def test_a_body_has_one_length_that_all_read_alike(
    headers: list[tuple[str, str]], version: str, status: int
) -> None:
    scope = scope_of("POST", "/v1/vms", HOST, *headers) | {"http_version": version}

    answer = await answer_of(guarding(served), scope)

    assert answer[0] == status
    assert (answer[1].get("connection") == "close") is (status == 400)
    if status == 400:
        (error,) = json.loads(answer[2])["errors"]
        assert error["pointer"] in {"Transfer-Encoding", "Content-Length"}


async def test_a_header_of_its_own_stands_in_an_answer() -> None:
    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        await JsonResponse({}, headers={"Cache-Control": "no-cache"})(scope, receive, send)

    _, headers, _ = await answer_of(guarding(answering), scope_of("GET", "/v1/vms", HOST))

    assert headers["cache-control"] == "no-cache"
    assert headers["x-content-type-options"] == "nosniff"


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


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ([], 'Authorization must be "Bearer TOKEN"; none was sent'),
        (
            [("Authorization", "secret")],
            'Authorization must be "Bearer TOKEN"; another scheme was sent',
        ),
        ([("Authorization", "Bearer wrong")], "the token is not the service's"),
    ],
)
async def test_a_refused_token_is_absent_of_another_scheme_or_wrong(
    headers: list[tuple[str, str]], detail: str
) -> None:
    scope = scope_of("GET", "/v1/vms", HOST, *headers)

    answer = await answer_of(guarding(served, token="secret"), scope)  # noqa: S106

    assert json.loads(answer[2])["detail"] == detail


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


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


async def logged(capsys: pytest.CaptureFixture[str], scope: dict[str, Any]) -> dict[str, Any]:
    await answer_of(guarding(served), scope)
    (line,) = capsys.readouterr().err.splitlines()
    fields: dict[str, Any] = json.loads(line)
    return fields


@pytest.mark.parametrize(
    ("given", "is_traced"),
    [
        ([f"00-{TRACE}-{SPAN}-01"], True),
        ([f"00-{TRACE}-{SPAN}-00"], True),
        ([f"cc-{TRACE}-{SPAN}-01-what-comes-later"], True),
        ([f"00-{TRACE}-{SPAN}-01-what-comes-later"], False),
        ([f"ff-{TRACE}-{SPAN}-01"], False),
        ([f"00-{'0' * 32}-{SPAN}-01"], False),
        ([f"00-{TRACE}-{'0' * 16}-01"], False),
        ([f"00-{TRACE.upper()}-{SPAN}-01"], False),
        ([f"00-{TRACE}-{SPAN}-01\n"], False),
        ([f"00-{TRACE}-{SPAN}"], False),
        ([f"00-{TRACE}-{SPAN}-01"] * 2, False),
        ([""], False),
        ([], False),
    ],
)
async def test_a_line_names_the_trace_of_its_request(
    capsys: pytest.CaptureFixture[str], given: list[str], *, is_traced: bool
) -> None:
    headers = [("traceparent", value) for value in given]

    line = await logged(capsys, scope_of("GET", "/v1/vms", HOST, *headers))

    assert line.get("trace_id") == (TRACE if is_traced else None)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/nothing/here", "/nothing/here"),
        ('/a b\n\x1b[31m"', "/a%20b%0A%1B%5B31m%22"),
        ("/\u202e\ud800", "/%E2%80%AE%3F"),
        ("/" + "x" * 300, "/" + "x" * 199),
        ("/" + "\n" * 300, ("/" + "%0A" * 300)[:200]),
    ],
)
async def test_the_line_of_a_request_without_a_route_has_its_path(
    capsys: pytest.CaptureFixture[str], path: str, shown: str
) -> None:
    line = await logged(capsys, {**scope_of("GET", "/", HOST), "path": path})

    assert (line["route"], line["path"]) == ("none", shown)
