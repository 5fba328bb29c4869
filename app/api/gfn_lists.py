"""Long lists of gfns, or of ranges of pages, in JSON, read piece by piece.

Validating a body is one call into C that holds the interpreter: 64 MiB of gfns would keep every
other request, health checks included, waiting for seconds. A body that is nothing but one such list
is therefore cut at commas, and others run between its pieces. Anything unusual, errors included, is
left to the ordinary way, which tells what is wrong.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from app.api.codec import range_columns
from app.api.schemas.accesses import Ranges
from app.api.schemas.fields import Count
from app.sim.actions import Gfns, PageRanges

PIECE_BYTES: Final = 1 << 16

# JSON's white space; that of `re` and of `bytes.strip` has more.
_SPACE: Final = b" \t\r\n"
_HEAD: Final = rb'[ \t\r\n]*\{[ \t\r\n]*"%s"[ \t\r\n]*:[ \t\r\n]*\['
_TAIL: Final = re.compile(rb"\][ \t\r\n]*\}[ \t\r\n]*\Z")
_TAIL_BYTES: Final = 64

_AFTER_NUMBER: Final = re.compile(rb",")
_AFTER_PAIR: Final = re.compile(rb"\][ \t\r\n]*,")

_NUMBERS: Final = TypeAdapter(list[Count])
_PAIRS: Final = TypeAdapter[list[tuple[int, int]]](Ranges)


def _pieces(body: bytes, start: int, end: int, cut: re.Pattern[bytes]) -> Iterator[bytes]:
    """Cut at the commas that follow each so many bytes."""
    while start <= end:
        comma = cut.search(body, start + PIECE_BYTES, end)
        stop = end if comma is None else comma.end() - 1
        # White space alone would pass for a list without elements.
        yield b"[" + (body[start:stop].strip(_SPACE) or b",") + b"]"
        start = stop + 1


def _read(body: bytes, name: bytes, cut: re.Pattern[bytes], schema: TypeAdapter[Any]) -> list[Any]:
    """Read the pieces of a body that is one list of this name; none if it is anything else."""
    head = re.match(_HEAD % name, body)
    tail = _TAIL.search(body, max(len(body) - _TAIL_BYTES, 0))
    if head is None or tail is None:
        return []
    try:
        return [
            # An array takes far less memory than a list, so each piece becomes one at once.
            np.array(schema.validate_json(piece), dtype=np.uint64)
            for piece in _pieces(body, head.end(), tail.start(), cut)
        ]
    except ValidationError:
        return []


def gfns_of(body: bytes) -> Gfns | None:
    """Read a body that is one list of gfns; None if it is anything else, or wrong."""
    pieces = _read(body, b"gfns", _AFTER_NUMBER, _NUMBERS)
    return Gfns(np.concatenate(pieces)) if pieces else None


def ranges_of(body: bytes, name: bytes) -> PageRanges | None:
    """Read a body that is one list of ranges; None if it is anything else, or wrong."""
    pieces = _read(body, name, _AFTER_PAIR, _PAIRS)
    return PageRanges(*range_columns(np.concatenate(pieces))) if pieces else None
