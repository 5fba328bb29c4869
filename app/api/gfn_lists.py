"""Long lists of gfns in JSON, read piece by piece.

Validating a body is one call into C that holds the interpreter: 64 MiB of gfns would keep every
other request, health checks included, waiting for seconds. A body that is nothing but a list of
gfns is therefore cut at commas, and others run between its pieces. Anything unusual, errors
included, is left to the ordinary way, which tells what is wrong.
"""

import re
from collections.abc import Iterator
from typing import Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from app.api.schemas.fields import Count
from app.sim.actions import Gfns

PIECE_BYTES: Final = 1 << 16

_HEAD: Final = re.compile(rb'\s*\{\s*"gfns"\s*:\s*\[')
_TAIL: Final = re.compile(rb"\]\s*\}\s*\Z")
_TAIL_BYTES: Final = 64

_PIECE: Final = TypeAdapter(list[Count])


def _pieces(body: bytes, start: int, end: int) -> Iterator[bytes]:
    """Cut at the commas that follow each so many bytes."""
    while start < end:
        comma = body.find(b",", start + PIECE_BYTES, end)
        stop = end if comma < 0 else comma
        yield b"[" + body[start:stop] + b"]"
        # A comma at the very end would announce an element that never comes.
        if comma == end - 1:
            yield b"[,]"
        start = stop + 1


def gfns_of(body: bytes) -> Gfns | None:
    """Read a body that is one list of gfns; None if it is anything else, or wrong."""
    head = _HEAD.match(body)
    tail_start = max(len(body) - _TAIL_BYTES, 0)
    tail = _TAIL.search(body, tail_start)
    if head is None or tail is None:
        return None
    try:
        arrays = [
            np.array(_PIECE.validate_json(piece), dtype=np.uint64)
            for piece in _pieces(body, head.end(), tail.start())
        ]
    except ValidationError:
        return None
    return Gfns(np.concatenate(arrays)) if arrays else None
