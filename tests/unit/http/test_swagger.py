"""/docs: the page and its files, all from this service."""

import re

import pytest

from app.http.swagger import ASSETS, asset, page


@pytest.mark.parametrize("name", ASSETS)
def test_each_file_comes_with_the_service(name: str) -> None:
    assert len(asset(name)) > 100


def test_the_page_asks_no_other_host() -> None:
    text = bytes(page("hacdbs-sim").body).decode()

    assert re.findall(r"""["'](https?:)?//""", text) == []
    assert set(re.findall(r"/docs/([a-z0-9.-]+)", text)) == set(ASSETS)
    assert "/openapi.json" in text
    assert "<title>hacdbs-sim</title>" in text
