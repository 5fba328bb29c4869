"""/docs: the page and its files, all from this service."""

import re

import pytest

from app.http.routes.service import SWAGGER_FILES, _asset, get_docs


@pytest.mark.parametrize("name", SWAGGER_FILES)
def test_each_file_comes_with_the_service(name: str) -> None:
    assert len(_asset(name)) > 100


@pytest.mark.anyio
async def test_the_page_asks_no_other_host() -> None:
    text = bytes((await get_docs()).body).decode()

    assert re.findall(r"""["'](https?:)?//""", text) == []
    assert set(re.findall(r"/docs/([a-z0-9.-]+)", text)) == set(SWAGGER_FILES)
    assert "/openapi.json" in text
    assert "<title>hacdbs-sim</title>" in text
