"""/ui as files: who may load them, and which policy their headers set."""

import re
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from app.http.ui import PATHS
from app.main import create_app
from app.settings import Settings

pytestmark = pytest.mark.anyio

FILES = sorted((Path(__file__).parents[2] / "app/ui").iterdir())
TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


async def test_the_page_and_its_parts_are_served_as_what_they_are(
    client: httpx.AsyncClient,
) -> None:
    for file in FILES:
        answer = await client.get(f"/ui/{file.name}")

        assert answer.content == file.read_bytes()
        assert answer.headers["content-type"].partition(";")[0] == TYPES[file.suffix]
    assert (await client.get("/ui")).text == (await client.get("/ui/index.html")).text
    assert (await client.get("/ui/")).text == (await client.get("/ui")).text


async def test_a_browser_that_opens_the_service_gets_the_page(client: httpx.AsyncClient) -> None:
    browsers = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}

    page = await client.get("/", headers=browsers)

    assert page.content == (await client.get("/ui")).content
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for accept in ("*/*", "application/json", "application/json, text/html"):
        assert "links" in (await client.get("/", headers={"accept": accept})).json()


async def test_the_policy_forbids_loads_and_calls_to_other_hosts(
    client: httpx.AsyncClient,
) -> None:
    for path in PATHS:
        headers = (await client.get(path)).headers

        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert {policy[f"{kind}-src"] for kind in ("script", "style", "connect")} == {"'self'"}
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


async def test_another_part_is_not_there(client: httpx.AsyncClient) -> None:
    for path in ("/ui//", "/ui/none.js", "/ui/%2e%2e%2fsettings.py", "/ui/ui/main.js"):
        answer = await client.get(path)

        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_path"), path


async def test_the_page_wants_no_token_and_what_it_calls_does(
    connect: Callable[[FastAPI], httpx.AsyncClient],
) -> None:
    async with connect(create_app(Settings(token=SecretStr("secret")))) as client:
        statuses = {(await client.get(path)).status_code for path in PATHS}
        documents = {
            (await client.get(path)).status_code
            for path in ("/docs", "/docs/start.js", "/openapi.json")
        }
        calls = {(await client.get(path)).status_code for path in ("/v1/vms", "/metrics")}

    assert statuses == documents == {200}
    assert calls == {401}


def test_each_part_names_only_parts_that_are_there() -> None:
    text = "\n".join(file.read_text() for file in FILES)
    named = re.findall(r'"(?:\./|/ui/)([a-z.]+)"', text)

    assert len(named) > 20
    assert set(named) <= {file.name for file in FILES}
    assert re.findall(r"https?://(?!www\.w3\.org/)", text) == []


def test_no_part_makes_markup_of_text() -> None:
    for file in FILES:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", file.read_text()
        )


def test_no_part_is_longer_than_one_likes_to_read() -> None:
    assert {file.name for file in FILES if len(file.read_text().splitlines()) > 400} == set()
