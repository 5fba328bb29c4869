"""Charts as SVG, drawn here: they need no script and no other file. Their colours are the style sheet's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.etree import ElementTree as ET

from markupsafe import Markup

from hacdbs_sim.report.figures import Figure

_WIDTH: Final = 760
_HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 14, 24, 46
_INNER_WIDTH: Final = _WIDTH - _LEFT - _RIGHT
_INNER_HEIGHT: Final = _HEIGHT - _TOP - _BOTTOM
MAX_BARS: Final = 60
"""Above so many passes a series is a line."""
_MAX_TICKS: Final = 8


@dataclass(frozen=True, slots=True)
class Series:
    """A value for each pass."""

    name: str
    values: Sequence[float]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Some series over the passes of a migration, on a logarithmic scale.

    Attributes:
        title: What it shows.
        axis: What its values are.
        series: At most 8: the style sheet has so many colours.
        figure: How a value is written.
        base: The scale's ticks are powers of it.
        floor: The value at the bottom, where nothing is drawn: below it is nothing.
        limit: A value that is marked, and what it is.
        marks: What happened at the beginning of a pass, by pass.
        are_bars: Whether bars are drawn, where there is room for them.
    """

    title: str
    axis: str
    series: tuple[Series, ...]
    figure: Figure
    base: int = 10
    floor: float = 1.0
    limit: tuple[float, str] | None = None
    marks: Mapping[int, str] = field(default_factory=dict)
    are_bars: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return all(each.is_empty for each in self.series)


class _Scale:
    """Powers of a base: equal ratios are equally far apart."""

    def __init__(self, base: int, floor: float, most: float) -> None:
        self._floor = floor
        span = max(1, math.ceil(round(math.log(most / floor, base), 9)))
        step = -(-span // _MAX_TICKS)
        self._log_span = span * math.log(base)
        self.ticks = [floor * base**power for power in range(0, span + 1, step)]

    def y(self, value: float) -> float:
        part = 0.0
        if value > self._floor:
            part = min(math.log(value / self._floor) / self._log_span, 1.0)
        return _TOP + _INNER_HEIGHT * (1 - part)


def draw(chart: Chart) -> Markup:
    """Draw a chart, with its key below it."""
    passes = max((len(each.values) for each in chart.series), default=0)
    values = [value for each in chart.series for value in each.values]
    most = max([chart.floor * chart.base, *values, *([chart.limit[0]] if chart.limit else [])])
    scale = _Scale(chart.base, chart.floor, most)
    svg = ET.Element("svg", {"viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img"})
    if not chart.are_bars:  # so that lines of equal values differ
        svg.set("class", "dashes")
    _part(svg, "title", chart.title)
    slots = max(passes, 4)
    pitch = _INNER_WIDTH / slots
    _axes(svg, chart, scale, passes, pitch)
    for number, text in chart.marks.items():
        x = _LEFT + pitch * min(number, slots)
        mark = _part(svg, "path", d=f"M{x:.1f} {_TOP}V{_TOP + _INNER_HEIGHT}", **{"class": "mark"})
        _part(mark, "title", f"Pass {number}: {text}")
    draw_series = _bars if chart.are_bars and passes <= MAX_BARS else _line
    for index, series in enumerate(chart.series):
        if series.is_empty:
            continue
        draw_series(svg, chart, series, scale, (index, pitch))
    if chart.limit is not None:
        y = scale.y(chart.limit[0])
        _part(svg, "path", d=f"M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}", **{"class": "limit"})
    return Markup(ET.tostring(svg, encoding="unicode"))  # noqa: S704 - ElementTree escapes


def key(number: int) -> Markup:
    """Draw the mark of a series for the chart's key."""
    svg = ET.Element("svg", {"viewBox": "0 0 16 10", "class": "key", "aria-hidden": "true"})
    _part(svg, "rect", x="0", y="0", width="16", height="10", rx="2", **{"class": f"b{number}"})
    return Markup(ET.tostring(svg, encoding="unicode"))  # noqa: S704 - as above


def _part(parent: ET.Element, tag: str, text: str | None = None, **attributes: str) -> ET.Element:
    part = ET.SubElement(parent, tag, attributes)
    part.text = text
    return part


def _label(svg: ET.Element, x: float, y: float, text: str, anchor: str = "middle") -> None:
    _part(svg, "text", text, x=f"{x:.1f}", y=f"{y:.1f}", **{"text-anchor": anchor})


def _axes(svg: ET.Element, chart: Chart, scale: _Scale, passes: int, pitch: float) -> None:
    for tick in scale.ticks:
        y = scale.y(tick)
        name = "axis" if tick == scale.ticks[0] else "grid"
        _part(svg, "path", d=f"M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}", **{"class": name})
        _label(svg, _LEFT - 8, y + 4, "0" if name == "axis" else chart.figure(tick), "end")
    _label(svg, _LEFT - 8, _TOP - 10, chart.axis, "start")
    _label(svg, _LEFT + _INNER_WIDTH / 2, _HEIGHT - 6, "pass")
    step = max(1, math.ceil(passes * 44 / _INNER_WIDTH))
    for number in range(0, passes, step):
        _label(svg, _LEFT + pitch * (number + 0.5), _HEIGHT - _BOTTOM + 18, str(number))


def _bars(
    svg: ET.Element, chart: Chart, series: Series, scale: _Scale, place: tuple[int, float]
) -> None:
    index, pitch = place
    many = len(chart.series)
    width = min(24.0, pitch * 0.8 / many)
    for number, value in enumerate(series.values):
        if not value:
            continue
        x = _LEFT + pitch * (number + 0.5) + width * (index - many / 2)
        # A value at the floor is visible
        y = min(scale.y(value), _TOP + _INNER_HEIGHT - 2)
        bar = _part(
            svg,
            "rect",
            x=f"{x:.1f}",
            y=f"{y:.1f}",
            width=f"{max(width - 1, 1):.1f}",
            height=f"{_TOP + _INNER_HEIGHT - y:.1f}",
            **{"class": f"b{index}"},
        )
        _part(bar, "title", f"Pass {number}, {series.name}: {chart.figure(value)}")


def _line(
    svg: ET.Element, chart: Chart, series: Series, scale: _Scale, place: tuple[int, float]
) -> None:
    index, pitch = place
    points = [
        (_LEFT + pitch * (number + 0.5), scale.y(value))
        for number, value in enumerate(series.values)
    ]
    drawn = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    line = _part(svg, "path", d=f"M{drawn}", **{"class": f"l{index}"})
    _part(line, "title", series.name)
    if len(points) <= MAX_BARS:
        for (x, y), value in zip(points, series.values, strict=True):
            dot = _part(
                svg, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="3", **{"class": f"b{index}"}
            )
            _part(dot, "title", f"{series.name}: {chart.figure(value)}")
