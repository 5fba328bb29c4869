"""The service about itself: health, documents, metrics, logs."""

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import LogFormat, LogLevel, Settings

pytestmark = pytest.mark.anyio

Connect = Callable[[FastAPI], httpx.AsyncClient]


async def test_the_index_links_to_what_exists(client: httpx.AsyncClient) -> None:
    links = (await client.get("/")).json()["links"]

    for path in links.values():
        assert (await client.get(path)).status_code == 200


async def test_health_version_and_capabilities(client: httpx.AsyncClient) -> None:
    capabilities = (await client.get("/v1/capabilities")).json()

    assert (await client.get("/livez")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ok"}
    assert (await client.get("/version")).json()["name"] == "hacdbs-sim"
    assert capabilities["extensions"]["KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2"] == 3
    assert capabilities["supported_block_sizes"]["4096"] == [4096, 2 << 20, 1 << 30]
    assert capabilities["limits"]["max_vms"] == Settings().max_vms


async def test_a_service_that_stops_is_not_ready(connect: Connect) -> None:
    app = create_app(Settings())
    async with app.router.lifespan_context(app), connect(app) as client:
        assert (await client.get("/readyz")).status_code == 200

    async with connect(app) as client:
        answer = await client.get("/readyz")

    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")


async def test_the_documents_need_no_other_host(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text

    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) == 4
    for source in sources:
        assert source.startswith("/docs/")
        assert len((await client.get(source)).content) > 100
    assert "//" not in re.sub(r"^\s*//.*$", "", page, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [("abc-1.2:3_4", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("", False)],
)
async def test_a_sane_request_id_comes_back(
    client: httpx.AsyncClient, given: str, *, is_kept: bool
) -> None:
    answer = await client.get("/nowhere", headers={"x-request-id": given})

    assert (answer.headers["x-request-id"] == given) is is_kept
    assert answer.headers["x-request-id"]


async def test_metrics_count_by_template_and_never_by_path(
    client: httpx.AsyncClient, vm: str
) -> None:
    await client.post(f"{vm}/guest/write", json={"gfns": [0x40000, 0x40001]})
    await client.post(f"{vm}/faults", json={"type": "ipaf", "when": {"index": 1}})
    await client.post(f"{vm}/memslots/0/dirty-log/get")
    await client.get("/nowhere/else")
    await client.request("BREW", "/")

    text = (await client.get("/metrics")).text

    assert "hacdbs_vms 1.0" in text
    assert 'hacdbs_cleaned_pages_total{by="hardware"} 1.0' in text
    assert 'hacdbs_cleaned_pages_total{by="software"} 1.0' in text
    assert "hacdbs_requeued_pages_total 1.0" in text
    assert 'hacdbs_hook_calls_total{outcome="partial"} 1.0' in text
    assert 'hacdbs_fault_hits_total{type="ipaf"} 1.0' in text
    route = 'route="/v1/vms/{vm_id}/guest/write"'
    assert f'http_requests_total{{method="POST",{route},status="200"}} 1.0' in text
    assert 'http_requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert 'method="other"' in text
    assert "default-1" not in text


ODD_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW", "PROPFIND")
ODD_STATUSES = {"404", "405", "422", "400", "501"}
"""What a request may get that matches no route and method."""


async def test_the_series_are_bounded_whatever_is_requested() -> None:
    app = create_app(Settings(log_level=LogLevel.ERROR))
    paths = app.openapi()["paths"]
    documented = {
        (method.upper(), path, status)
        for path, methods in paths.items()
        for method, operation in methods.items()
        for status in operation["responses"]
    }

    async def series(client: httpx.AsyncClient, name: str) -> set[tuple[str, ...]]:
        text = (await client.get("/metrics")).text
        found = re.findall(rf"^{name}{{(.*)}} ", text, re.MULTILINE)
        return {tuple(re.findall(r'"([^"]*)"', labels)) for labels in found}

    async def be_odd(client: httpx.AsyncClient, salt: str) -> None:
        for path in [*paths, "/nothing", "/v1/vms/a/b", "/%2F", "/v1/vms/{vm_id}%2Fmemslots"]:
            url = re.sub(r"{[^}]*}", salt, path)
            for method in ODD_METHODS:
                await client.request(method, url, params={salt: salt})
            await client.put(f"{url}/{salt}", content=salt.encode())

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://localhost"
    ) as client:
        await be_odd(client, "odd")
        counted = await series(client, "http_requests_total")
        timed = await series(client, "http_request_duration_seconds_count")
        await be_odd(client, "odder")
        again = await series(client, "http_requests_total")

    assert {each for each in counted if each[1] != "none"} <= documented
    assert {each[2] for each in counted if each[1] == "none"} <= ODD_STATUSES
    assert timed <= {each[:2] for each in documented}
    assert len(again - counted) <= 1  # that of /metrics itself
    assert again >= counted


async def test_what_waits_is_not_in_the_latency(connect: Connect) -> None:
    app = create_app(Settings())
    route = 'method="GET",route="/v1/events"'

    async def counted(client: httpx.AsyncClient, name: str) -> int:
        text = (await client.get("/metrics")).text
        found = re.search(rf"^{name}{{{route}[^}}]*}} ([0-9]+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

    async with connect(app) as client:
        await client.get("/v1/events")
        await client.get("/v1/events", params={"wait_seconds": 1})
        app.begin_stop()  # ends streams
        stream = await client.get("/v1/events", headers={"Accept": "text/event-stream"})

        assert stream.text.startswith("retry:") or not stream.text
        assert await counted(client, "http_requests_total") == 3
        assert await counted(client, "http_request_duration_seconds_count") == 1


async def test_migrations_are_counted_by_status(client: httpx.AsyncClient, vm: str) -> None:
    started = await client.post("/v1/migrations", json={"vm_id": vm.rpartition("/")[2]})
    path = f"/v1/migrations/{started.json()['migration_id']}"
    ended = (await client.get(path, params={"wait_seconds": 30})).json()

    text = (await client.get("/metrics")).text
    assert f'hacdbs_migrations{{status="{ended["status"]}"}} 1.0' in text
    assert 'hacdbs_migrations{status="active"} 0.0' in text


async def test_applications_count_apart(connect: Connect) -> None:
    async with connect(create_app(Settings())) as one, connect(create_app(Settings())) as other:
        await one.post("/v1/vms")

        assert "hacdbs_vms 0.0" in (await other.get("/metrics")).text


async def test_the_server_leaves_no_lines_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    access = logging.getLogger("uvicorn.access")
    monkeypatch.setattr(access, "disabled", False)
    app = create_app(Settings())

    async with app.router.lifespan_context(app):
        assert access.disabled


async def test_a_request_leaves_one_line_of_json(
    connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    async with connect(create_app(Settings(log_format=LogFormat.JSON))) as client:
        await client.get("/v1/vms/nope", headers={"x-request-id": "r1"})

    (line,) = capsys.readouterr().err.splitlines()
    logged: dict[str, Any] = json.loads(line)
    assert (logged["request_id"], logged["method"], logged["status"]) == ("r1", "GET", 404)
    assert logged["route"] == "/v1/vms/{vm_id}"
    assert logged["duration_seconds"] > 0


async def test_every_response_names_the_start_of_the_service(client: httpx.AsyncClient) -> None:
    paths = ("/", "/livez", "/version", "/v1/vms/none", "/nothing", "/docs", "/metrics")
    answers = [await client.get(path) for path in paths]
    refused = await client.get("/", headers={"Host": "elsewhere.example"})
    version = (await client.get("/version")).json()

    names = {answer.headers["hacdbs-instance"] for answer in (*answers, refused)}
    assert names == {version["instance"]}
    assert create_app(Settings()).context.fleet.instance not in names
