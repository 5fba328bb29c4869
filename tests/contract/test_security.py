"""What docs/security.md promises of callers, browsers, secrets and logs."""

import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.main import create_app
from app.settings import LogFormat, LogLevel, Settings

pytestmark = pytest.mark.anyio

Connect = Callable[[FastAPI], httpx.AsyncClient]
TOKEN = "t0ken-of-the-test"  # noqa: S105 - the test's own


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost", 200),
        ("https://LOCALHOST", 200),  # a proxy with TLS keeps the Host
        ("http://localhost:3000", 403),
        ("http://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("http://evil.example/localhost", 403),
        ("null", 403),
        ("", 403),
        ("localhost", 403),
    ],
)
async def test_a_browser_calls_from_our_own_pages_only(
    client: httpx.AsyncClient, vm: str, origin: str, status: int
) -> None:
    answer = await client.post(f"{vm}/memslots/0/dirty-log/get", headers={"Origin": origin})

    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "origin_not_allowed"
        assert (await client.get(vm)).json()["counters"]["dirty_log_gets"] == 0


async def test_two_origins_are_none_of_ours(client: httpx.AsyncClient) -> None:
    headers = [("Origin", "http://localhost"), ("Origin", "http://evil.example")]

    assert (await client.get("/livez", headers=headers)).status_code == 403


async def test_no_header_allows_reads_from_other_origins(client: httpx.AsyncClient) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answers = [
        await client.get("/"),
        await client.get("/", headers={"Origin": "http://localhost"}),
        await client.options("/v1/vms", headers=asked),
    ]

    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize("log_format", LogFormat)
async def test_no_secret_of_a_caller_is_logged(
    connect: Connect, capsys: pytest.CaptureFixture[str], log_format: LogFormat
) -> None:
    settings = Settings(token=SecretStr(TOKEN), log_format=log_format, log_level=LogLevel.DEBUG)
    app = create_app(settings)
    async with app.router.lifespan_context(app), connect(app) as client:
        right = {"Authorization": f"Bearer {TOKEN}"}
        extra = {"Cookie": "secret-cookie", "Idempotency-Key": "secret-key"}
        calls = [
            client.post("/v1/vms", json={"name": "secret-name"}, headers={**right, **extra}),
            client.post("/v1/vms", content=b'{"secret-malformed', headers=right),
            client.get("/v1/vms/secret-path", headers=right),
            client.get("/v1/vms?secret-query=secret-value", headers=right),
            client.get("/nowhere?secret-query=secret-value", headers=right),
            client.get("/v1/vms", headers={"Authorization": "Bearer secret-wrong"}),
        ]
        statuses = [(await call).status_code for call in calls]

    logged = "".join(capsys.readouterr())
    assert statuses == [201, 415, 404, 422, 404, 401]
    assert logged.count("route") == len(calls)
    assert "/nowhere" in logged
    assert "secret" not in logged
    assert TOKEN not in logged


async def test_the_settings_do_not_print_their_token() -> None:
    settings = Settings(token=SecretStr(TOKEN))

    assert TOKEN not in f"{settings!r} {settings!s} {settings.model_dump_json()}"


@pytest.mark.parametrize("forged", ["a\nb", "a b", "x" * 65, "\u2028", '"', ""])
async def test_a_request_id_cannot_forge_a_log_line(
    connect: Connect, capsys: pytest.CaptureFixture[str], forged: str
) -> None:
    async with connect(create_app(Settings(log_format=LogFormat.JSON))) as client:
        answer = await client.get(
            "/livez", headers=[(b"host", b"localhost"), (b"x-request-id", forged.encode())]
        )

    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["request_id"] == answer.headers["x-request-id"] != forged


GUARDED = [
    ("GET", "/", 200),
    ("GET", "/livez", 200),
    ("GET", "/openapi.json", 200),
    ("GET", "/metrics", 200),
    ("GET", "/docs", 200),
    ("GET", "/docs/start.js", 200),
    ("GET", "/docs/swagger-ui-bundle.js", 200),
    ("GET", "/ui", 200),
    ("GET", "/v1/vms", 200),
    ("GET", "/v1/events", 200),
    ("POST", "/v1/vms/default-1/memslots/0/dirty-log/get", 200),
    ("DELETE", "/v1/vms/default-1", 204),
    ("POST", "/v1/sessions/default/reset", 204),
    ("GET", "/v1/vms/none", 404),
    ("GET", "/nowhere", 404),
    ("GET", "/v1%2Fvms", 404),
    ("PUT", "/v1/vms", 405),
    ("POST", "/v1/vms?x=1", 422),
    ("PATCH", "/v1/vms/default-1", 415),
]


@pytest.mark.parametrize(("method", "path", "status"), GUARDED)
async def test_a_browser_neither_frames_guesses_nor_keeps_an_answer(
    client: httpx.AsyncClient, vm: str, method: str, path: str, status: int
) -> None:
    assert vm == "/v1/vms/default-1"
    answer = await client.request(method, path)

    assert answer.status_code == status
    names = [name.lower() for name, _ in answer.headers.multi_items()]
    assert len(names) == len(set(names))
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    is_file = path.startswith(("/docs", "/ui"))
    assert answer.headers["cache-control"] == ("no-cache" if is_file else "no-store")


async def test_a_refusal_before_the_routes_is_guarded_too(client: httpx.AsyncClient) -> None:
    for headers in (
        {"host": "elsewhere.example"},
        {"origin": "http://elsewhere.example"},
        {"transfer-encoding": "gzip"},
    ):
        answer = await client.get("/v1/vms", headers=headers)

        assert answer.is_client_error
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "Content-Length", "Content-Type", "Transfer-Encoding", "Authorization"),
        *("Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID"),
    ],
)
async def test_a_header_that_a_request_has_once_is_refused_twice(
    client: httpx.AsyncClient, vm: str, name: str
) -> None:
    value = {"Host": "localhost", "Content-Length": "0", "Transfer-Encoding": "chunked"}.get(
        name, '"1"'
    )
    given = [] if name == "Host" else [("Host", "localhost")]
    headers = [*given, (name, value), (name.lower(), value)]

    answer = await client.post(f"{vm}/memslots/0/dirty-log/get", headers=headers)

    (error,) = answer.json()["errors"]
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert (error["in"], error["pointer"], error["value"]) == ("header", name, 2)
    assert answer.headers["connection"] == "close"
    assert (await client.get(vm)).json()["counters"]["dirty_log_gets"] == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"gfns": [1], "gfns": [2]}', "/gfns"),
        (b'{"gfns": [1],' + b" " * (1 << 19) + b'"gfns": [2]}', "/gfns"),
        (b'{"gfns": [1], "\\u0067fns": [1]}', "/gfns"),
    ],
    ids=["small", "large", "escaped"],
)
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_field_that_is_there_twice_changes_nothing(
    client: httpx.AsyncClient, vm: str, body: bytes, pointer: str, *, is_chunked: bool
) -> None:
    async def in_chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 1 << 16):
            yield body[at : at + (1 << 16)]

    answer = await client.post(
        f"{vm}/guest/write",
        content=in_chunks() if is_chunked else body,
        headers={"Content-Type": "application/json"},
    )

    (error,) = answer.json()["errors"]
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert (error["in"], error["pointer"]) == ("body", pointer)
    assert (await client.get(vm)).json()["counters"]["guest_writes"] == 0


async def test_an_action_of_a_batch_with_a_field_twice_keeps_the_batch_from_beginning(
    client: httpx.AsyncClient, vm: str
) -> None:
    body = b'{"actions": [{"op": "guest_write", "gfns": [1]}, {"op": "guest_write", "gfns": [1], "gfns": [2]}]}'

    answer = await client.post(
        f"{vm}/batch", content=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/actions/1/gfns"]
    assert (await client.get(vm)).json()["counters"]["guest_writes"] == 0


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1%2Fvms", "no_such_path"),
        ("/v1%2fvms", "no_such_path"),
        ("/%2Fv1/vms", "no_such_path"),
        ("/v1/vms/default-1%2Fclock", "no_such_vm"),
        ("/v1/vms/..%2fvms", "no_such_vm"),
        ("/v1/vms/default-1%2Fmemslots/0", "no_such_path"),
    ],
)
async def test_an_encoded_slash_separates_nothing(
    client: httpx.AsyncClient, vm: str, path: str, code: str
) -> None:
    assert vm
    answer = await client.get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_a_name_may_be_encoded(client: httpx.AsyncClient, vm: str) -> None:
    assert (await client.get(vm.replace("default", "%64efault"))).status_code == 200
    assert (await client.get("/v1/%76ms")).status_code == 200
