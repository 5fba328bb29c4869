"""/ui: the files of the page and the headers that confine them."""

import pytest

from app.http.problems import Refusal
from app.http.ui import INDEX, PATH, PATHS, file


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        (INDEX, "text/html; charset=utf-8"),
        ("main.js", "text/javascript; charset=utf-8"),
        ("base.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
def test_a_file_has_its_media_type_and_the_policy(name: str, media_type: str) -> None:
    response = file(name)

    assert response.headers["content-type"] == media_type
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["", "../ui/main.js", "/main.js", "main", "__init__.py"])
def test_another_name_is_not_a_file(name: str) -> None:
    with pytest.raises(Refusal):
        file(name)


def test_each_path_is_the_page_or_a_file() -> None:
    names = {path.removeprefix(PATH).removeprefix("/") for path in PATHS}

    assert "" in names
    assert all(file(name).body for name in names - {""})
