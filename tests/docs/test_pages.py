"""Pages are in the navigation, wrapped, plainly worded, and link to what is there."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = {DOCS / "api.md"}
"""Worded by the application's docstrings."""
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *(ROOT / "hacdbs_sim").rglob("*.md"),
        *(ROOT / "tests").rglob("*.md"),
    ]
)
WIDTH = 120
ODD_WORDS = re.compile(
    r"\b(tells?|told|whoever|value of the|(?<!there )is no|that ships?|what ships)\b", re.IGNORECASE
)
NOT_PUBLISHED = re.compile(r"\b(design|domain2?)\.md\b")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page without its fenced code."""
    fence = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if found := re.match(r"\s*(`{3,}|~{3,})", line):
            fence = "" if fence and found[1].startswith(fence) else fence or found[1]
        elif not fence:
            yield number, line


def entries(nav: Any) -> Iterator[str]:
    """The pages of a navigation, in its order."""
    if isinstance(nav, str):
        yield nav
    else:
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from entries(inner)


def test_the_navigation_has_each_page_once() -> None:
    with (ROOT / "zensical.toml").open("rb") as file:
        nav = tomllib.load(file)["project"]["nav"]

    assert sorted(entries(nav)) == sorted(
        str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")
    )


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_prose_is_wrapped(page: Path) -> None:
    long = [
        number
        for number, line in prose(page)
        if len(line) > WIDTH and not line.lstrip().startswith("|") and " " in line.strip()
    ]

    assert long == [], f"wrap at {WIDTH} columns"


@pytest.mark.parametrize("page", [page for page in PAGES if page not in GENERATED], ids=name)
def test_wording_is_plain(page: Path) -> None:
    odd = [
        f"{number}: {found[0]}"
        for number, line in prose(page)
        for found in ODD_WORDS.finditer(line)
    ]

    assert odd == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_nothing_is_cited_that_users_do_not_have(page: Path) -> None:
    assert NOT_PUBLISHED.findall(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_lead_to_files(page: Path) -> None:
    text = "\n".join(line for _, line in prose(page))
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text)

    assert [target for target in targets if not (page.parent / target).exists()] == []
