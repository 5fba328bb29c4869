"""/docs: the page and its files, all from this service, with nothing inline."""

import re

import pytest

from app.http.swagger import BUNDLED, START, asset, get_docs, get_start


@pytest.mark.parametrize("name", BUNDLED)
def test_each_file_comes_with_the_service(name: str) -> None:
    assert len(asset(name)) > 100


@pytest.mark.anyio
async def test_the_page_asks_no_other_host_and_has_nothing_inline() -> None:
    text = bytes((await get_docs()).body).decode()

    assert re.findall(r"""["'](https?:)?//""", text) == []
    assert set(re.findall(r"/docs/([a-z0-9.-]+)", text)) == {*BUNDLED, START}
    assert set(re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)) == {""}
    assert re.findall(r"<style|\bon[a-z]+=|\bstyle=", text) == []
    assert "<title>hacdbs-sim</title>" in text


@pytest.mark.anyio
async def test_the_script_reads_our_document() -> None:
    assert b"/openapi.json" in bytes((await get_start()).body)


@pytest.mark.anyio
async def test_the_policy_allows_no_script_but_our_files_and_no_frame() -> None:
    headers = (await get_docs()).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))

    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
