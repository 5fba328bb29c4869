"""A recording as an SVG: pages written over time, and above it how many each interval writes.

The map is a PNG inside the SVG, one pixel for some intervals and some pages, written here: a few
lines, and no plotting library among the service's dependencies.
"""

import base64
import struct
import zlib
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.traces.figures import interval_length, pages_over_time
from hacdbs_sim.traces.recording import Recording

MAX_COLUMNS: Final = 760
MAX_ROWS: Final = 360
_LEFT, _TOP, _CHART, _GAP, _BOTTOM = 70, 34, 90, 26, 44
_WIDTH: Final = _LEFT + MAX_COLUMNS + 20
_MAP_TOP: Final = _TOP + _CHART + _GAP
_HEIGHT: Final = _MAP_TOP + MAX_ROWS + _BOTTOM
_INK: Final = (31, 78, 121)


def svg_of(recording: Recording, title: str) -> str:
    """Draw a recording."""
    length = interval_length(recording) or "unknown length"
    most = int(recording.lengths.max())
    pages = len(recording.vpage)
    size = f'width="{_WIDTH}" height="{_HEIGHT}"'
    area = f'x="{_LEFT}" y="{_MAP_TOP}" width="{MAX_COLUMNS}" height="{MAX_ROWS}"'
    caption = f"{title}: {recording.intervals} intervals of {length}, {pages} pages"
    png = base64.b64encode(png_of(heat_of(recording))).decode()
    picture = f'preserveAspectRatio="none" href="data:image/png;base64,{png}"'
    end, below = _LEFT + MAX_COLUMNS, _MAP_TOP + MAX_ROWS + 18
    parts = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect {size} fill="#ffffff"/>',
        _label(_LEFT, 20, escape(caption), "start"),
        f'<polyline points="{_curve(recording, most)}" fill="none" stroke="#1f4e79"/>',
        _label(_LEFT - 8, _TOP + 10, str(most), "end"),
        _label(_LEFT - 8, _TOP + _CHART, "0", "end"),
        _label(_LEFT, _TOP + _CHART + 14, "pages an interval", "start"),
        f'<image {area} {picture} style="image-rendering:pixelated"/>',
        f'<rect {area} fill="none" stroke="#888888"/>',
        _label(_LEFT - 8, _MAP_TOP + 10, "page 0", "end"),
        _label(_LEFT - 8, _MAP_TOP + MAX_ROWS, str(max(pages - 1, 0)), "end"),
        _label(_LEFT, below, "interval 0", "start"),
        _label(end, below, str(recording.intervals - 1), "end"),
        "</svg>",
    )
    return "\n".join(parts) + "\n"


def heat_of(recording: Recording) -> NDArray[np.float64]:
    """Return the map: which share of its pages and intervals each cell writes, rows by page."""
    rows = min(MAX_ROWS, max(len(recording.vpage), 1))
    columns = min(MAX_COLUMNS, recording.intervals)
    interval = np.repeat(np.arange(recording.intervals), recording.lengths)
    cells: NDArray[np.float64] = np.zeros((rows, columns))
    row = recording.pages.astype(np.int64) * rows // max(len(recording.vpage), 1)
    np.add.at(cells, (row, interval * columns // recording.intervals), 1)
    cells /= max(cells.max(), 1.0)
    return cells


def png_of(heat: NDArray[np.float64]) -> bytes:
    """Write a picture of shares 0..1, white to ink, as an 8-bit RGB PNG (ISO/IEC 15948)."""
    rows, columns = heat.shape
    # The root makes cells that are written seldom stand out from those that never are.
    depth = np.sqrt(heat)[:, :, None]
    pixels = (255 - depth * (255 - np.array(_INK))).astype(np.uint8)
    lines = np.zeros((rows, 1 + 3 * columns), np.uint8)  # each line begins with filter type 0
    lines[:, 1:] = pixels.reshape(rows, 3 * columns)
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    data = _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + data + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def _curve(recording: Recording, most: int) -> str:
    parts = pages_over_time(recording, MAX_COLUMNS)
    step = MAX_COLUMNS / len(parts)
    return " ".join(
        f"{_LEFT + (at + 0.5) * step:.1f},{_TOP + _CHART * (1 - mean / max(most, 1)):.1f}"
        for at, (_, _, mean) in enumerate(parts)
    )


def _label(x: int, y: int, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="#444444">{text}</text>'
