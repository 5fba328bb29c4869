"""Tables at the widths of terminals: each number is there whole, whatever its size."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hacdbs_sim.cli import views
from hacdbs_sim.cli.tables import Rows

HUGE = (1 << 53) - 1


def render(table: Rows, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def table(columns: int, rows: int, *, least_columns: int | None = None) -> Rows:
    headers = ("name", *(f"#figure {number}" for number in range(columns)))
    values = [
        (f"row {row}", *(HUGE - row * 100 - number for number in range(columns)))
        for row in range(rows)
    ]
    return views.rows_table("title", headers, values, least_columns=least_columns)


def words(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize("width", [40, 60, 80, 160])
@given(columns=st.integers(1, 14), rows=st.integers(0, 5))
def test_no_number_is_cut_folded_or_left_out(width: int, columns: int, rows: int) -> None:
    shown = render(table(columns, rows), width)

    assert max(map(len, shown.splitlines()), default=0) <= width
    expected = [f"{HUGE - row * 100 - n:,}" for row in range(rows) for n in range(columns)]
    assert sorted(set(expected)) == sorted(set(re.findall(r"9,007[0-9,]*", shown)))


def test_a_table_that_fits_is_one() -> None:
    lines = render(table(2, 2), 80).splitlines()

    assert words(lines[2]) == ["name", "figure", "0", "figure", "1"]
    assert words(lines[4])[:2] == ["row", "0"]


def test_a_wide_table_of_few_rows_is_turned() -> None:
    shown = render(table(8, 2), 60).splitlines()

    assert words(shown[2]) == ["name", "row", "0", "row", "1"]
    assert words(shown[4]) == ["figure", "0", f"{HUGE:,}", f"{HUGE - 100:,}"]


def test_rows_of_a_table_that_fits_neither_way_are_one_below_the_other() -> None:
    shown = [words(line) for line in render(table(6, 6), 60).splitlines()]

    assert shown.count(["title"]) == 1
    assert [line for line in shown if line[:1] == ["name"]] == [
        ["name", "row", str(row)] for row in range(6)
    ]


def test_text_is_wrapped_between_words_before_a_table_is_turned() -> None:
    text = "what a fault does in so many words that no terminal has them in one line"
    shown = render(views.rows_table("", ("type", "#hits", "what"), [("ipaf", HUGE, text)]), 60)

    assert words(shown.splitlines()[1]) == ["type", "hits", "what"]
    assert set(text.split()) <= set(words(shown))


def test_a_table_that_grows_drops_its_last_columns_instead() -> None:
    shown = render(table(8, 3, least_columns=2), 60).splitlines()

    assert words(shown[2]) == ["name", "figure", "0", "figure", "1"]
    assert f"{HUGE - 1:,}" in words(shown[4])
