"""What docs/security.md promises of callers, browsers, secrets and logs."""

import json
from collections.abc import Callable

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
    async with connect(create_app(settings)) as client:
        right = {"Authorization": f"Bearer {TOKEN}"}
        extra = {"Cookie": "secret-cookie", "Idempotency-Key": "secret-key"}
        calls = [
            client.post("/v1/vms", json={"name": "secret-name"}, headers={**right, **extra}),
            client.post("/v1/vms", content=b'{"secret-malformed', headers=right),
            client.get("/v1/vms/secret-path", headers=right),
            client.get("/v1/vms?secret-query=secret-value", headers=right),
            client.get("/secret-nowhere", headers=right),
            client.get("/v1/vms", headers={"Authorization": "Bearer secret-wrong"}),
        ]
        statuses = [(await call).status_code for call in calls]

    logged = "".join(capsys.readouterr())
    assert statuses == [201, 415, 404, 422, 404, 401]
    assert logged.count("route") == len(calls)
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
