"""Figures and plots of recordings, worked by hand."""

import base64
import re
import struct
import zlib
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from hacdbs_sim.traces.figures import Figures, figures_of, pages_over_time, rewritten
from hacdbs_sim.traces.plot import MAX_COLUMNS, MAX_ROWS, heat_of, png_of, svg_of
from hacdbs_sim.traces.recording import SHIPPED, Recording, builtin, recording_of


def made(*intervals: list[int]) -> Recording:
    return recording_of(
        [np.array(interval, np.uint64) for interval in intervals],
        page_size=4096,
        instructions_per_interval=1000,
    )


SMALL = made([10, 11], [10], [], [10, 11, 20], [10])
NOTHING = made([], [])


def test_the_figures_of_a_recording() -> None:
    assert figures_of(SMALL) == Figures(
        intervals=5,
        page_size=4096,
        instructions_per_interval=1000,
        interval_ns=None,
        distinct_pages=3,
        records=7,
        span_pages=11,
        least=0,
        median=1.0,
        mean=1.4,
        most=3,
        written_once=1,
        hottest=((0, 10, 4), (1, 11, 2), (2, 20, 1)),
    )


def test_a_recording_of_nothing_has_figures() -> None:
    figures = figures_of(NOTHING)

    assert (figures.distinct_pages, figures.span_pages, figures.hottest) == (0, 0, ())
    assert rewritten(NOTHING) == []


def test_the_run_is_cut_into_parts_with_their_mean() -> None:
    assert pages_over_time(SMALL, 2) == [(0, 1, 1.5), (2, 4, pytest.approx(4 / 3))]
    assert [part[2] for part in pages_over_time(SMALL, 100)] == [2, 1, 0, 3, 1]


def test_pages_are_counted_by_how_many_intervals_write_them() -> None:
    assert rewritten(SMALL) == [(1, 1, 1), (2, 3, 1), (4, 7, 1)]


def test_the_map_has_a_cell_for_each_page_and_interval_of_a_small_recording() -> None:
    assert heat_of(SMALL).tolist() == [[1, 1, 0, 1, 1], [1, 0, 0, 1, 0], [0, 0, 0, 1, 0]]


def test_the_map_of_a_large_recording_is_bounded_and_counts() -> None:
    heat = heat_of(made(*([list(range(2 * MAX_ROWS))] * (2 * MAX_COLUMNS - 1)), [0]))

    assert heat.shape == (MAX_ROWS, MAX_COLUMNS)
    assert heat[0, 0] == 1
    assert heat[1, -1] == 0.5


def pixels_of(png: bytes) -> np.ndarray:
    """Read a PNG as this module writes it, by the standard's own layout."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data, shape = 8, b"", (0, 0)
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(
            kind + body
        )
        if kind == b"IHDR":
            width, height, *rest = struct.unpack(">IIBBBBB", body)
            shape = (height, width)
            assert rest == [8, 2, 0, 0, 0]
        if kind == b"IDAT":
            data += body
        at += 12 + length
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(shape[0], 1 + 3 * shape[1])
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(*shape, 3)


def test_the_picture_is_white_where_nothing_is_written_and_ink_where_most_is() -> None:
    pixels = pixels_of(png_of(np.array([[0.0, 1.0], [0.25, 0.0]])))

    assert pixels[0].tolist() == [[255, 255, 255], [31, 78, 121]]
    assert pixels[1].tolist() == [[143, 166, 188], [255, 255, 255]]


@pytest.mark.parametrize("recording", [SMALL, NOTHING, *map(builtin, SHIPPED)])
def test_the_plot_is_sound_svg_with_its_map_inside(recording: Recording) -> None:
    svg = svg_of(recording, 'a "<name>" & more')

    root = ET.fromstring(svg)  # noqa: S314 - our own
    assert root.findtext("{*}title") == 'a "<name>" & more'
    image = root.find("{*}image")
    assert image is not None
    png = base64.b64decode(image.attrib["href"].removeprefix("data:image/png;base64,"))
    assert pixels_of(png).shape[:2] == heat_of(recording).shape
    curve = root.find("{*}polyline")
    assert curve is not None
    heights = [float(y) for y in re.findall(r",([\d.]+)", curve.attrib["points"])]
    assert len(heights) == min(recording.intervals, MAX_COLUMNS)
    assert all(34 <= height <= 124 for height in heights)


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        ({"interval_ns": 2_500_000}, "2.5 ms"),
        ({"instructions_per_interval": 250_000}, "250,000 instructions"),
        ({}, "unknown length"),
    ],
)
def test_the_plot_says_how_long_an_interval_is(length: dict[str, int], shown: str) -> None:
    recording = recording_of([np.array([1], np.uint64)], page_size=4096, **length)

    assert f"1 intervals of {shown}, 1 pages" in svg_of(recording, "x")
