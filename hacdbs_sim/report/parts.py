"""The parts of a page: verdicts, tables and charts."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from markupsafe import Markup

from hacdbs_sim import model
from hacdbs_sim.report import figures
from hacdbs_sim.report.charts import Chart, Series, draw, key
from hacdbs_sim.wire import to_plain

Rows: TypeAlias = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How something ended: `good`, `bad` or `open`, in words, and why."""

    kind: str
    words: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column."""

    name: str
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table; rows whose number is in `marked` stand out, and the last one has sums if it has."""

    caption: str
    columns: tuple[Column, ...]
    rows: Rows
    marked: frozenset[int] = frozenset()
    has_sums: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart as SVG, its key, and what its marks mean."""

    title: str
    svg: Markup
    keys: tuple[tuple[Markup, str], ...]
    limit: str = ""
    has_marks: bool = False


def table(
    caption: str,
    headers: Iterable[str],
    rows: Iterable[Iterable[str]],
    *,
    marked: Iterable[int] = (),
    has_sums: bool = False,
    note: str = "",
) -> Table:
    """Return a table; a header that begins with # is that of a column of numbers."""
    columns = tuple(Column(each.removeprefix("#"), each.startswith("#")) for each in headers)
    return Table(caption, columns, tuple(map(tuple, rows)), frozenset(marked), has_sums, note)


def fields_table(caption: str, values: Mapping[str, object]) -> Table:
    """Return a table of names and values."""
    return table(caption, ("field", "value"), [(name, cell(v, name)) for name, v in values.items()])


def cell(value: object, name: str) -> str:
    """Return the text of a field's value; of a part of the model, what is given in it."""
    plain = to_plain(value) if isinstance(value, model.Model) else value
    return given(plain) if isinstance(plain, dict) else figures.text(plain, name)


def given(plain: Mapping[str, Any]) -> str:
    """Return the text of what is given among fields."""
    return figures.text({name: value for name, value in plain.items() if value not in (None, [])})


def chart_of_bytes(
    title: str,
    series: tuple[Series, ...],
    page_size: int,
    **more: Any,  # noqa: ANN401 - of Chart
) -> Chart:
    """Return a chart of bytes, of which a quarter of a page is the bottom."""
    return Chart(
        title=title,
        axis="bytes (log scale)",
        series=series,
        figure=figures.octets,
        base=4,
        floor=page_size / 4,
        **more,
    )


def chart_of_times(
    title: str,
    series: tuple[Series, ...],
    **more: Any,  # noqa: ANN401 - of Chart
) -> Chart:
    """Return a chart of virtual times."""
    return Chart(
        title=title,
        axis="virtual time (log scale)",
        series=series,
        figure=figures.nanoseconds,
        floor=_floor_of(series),
        **more,
    )


def drawn_charts(charts: Iterable[Chart]) -> tuple[Drawn, ...]:
    """Draw the charts that have something to show."""
    return tuple(_drawn(each) for each in charts if not each.is_empty)


def _drawn(chart: Chart) -> Drawn:
    keys = tuple(
        (key(index), each.name) for index, each in enumerate(chart.series) if not each.is_empty
    )
    limit = f"{chart.limit[1]}: {chart.figure(chart.limit[0])}" if chart.limit else ""
    return Drawn(chart.title, draw(chart), keys, limit, bool(chart.marks))


def _floor_of(series: Iterable[Series]) -> float:
    """Return a tenth of the power of ten below the least value."""
    values = [value for each in series for value in each.values if value]
    return 10.0 ** (math.floor(math.log10(min(values))) - 1) if values else 1.0
