"""Long lists of gfns or of ranges of pages, and long bitmaps, in JSON, read piece by piece.

Validating a body is one call into C that holds the interpreter: 64 MiB of gfns would keep every
other request, health checks included, waiting for seconds. A body that is nothing but one such list
or bitmap is therefore cut, a list at commas, and others run between its pieces. What is wrong with it
is described as the ordinary way would describe it. Anything unusual is left to that way.
"""

import binascii
import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from pydantic_core import SchemaValidator, ValidationError, from_json

from hacdbs_sim.model.pages import Bitmap, Gfns, PageRanges
from hacdbs_sim.wire.codec import octets_from_base64, words_from_octets
from hacdbs_sim.wire.cutting import PIECE_BYTES, SPACE
from hacdbs_sim.wire.errors import InvalidRequestError, body_errors
from hacdbs_sim.wire.page_forms import page_field_schema, pages_from

_HEAD: Final = rb'[ \t\r\n]*\{[ \t\r\n]*"%s"[ \t\r\n]*:[ \t\r\n]*\['
_TAIL: Final = re.compile(rb"\][ \t\r\n]*\}[ \t\r\n]*\Z")
_BITMAP_HEAD: Final = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"bitmap"[ \t\r\n]*:[ \t\r\n]*"')
_BITMAP_TAIL: Final = re.compile(rb'"[ \t\r\n]*\}[ \t\r\n]*\Z')
_NOT_PLAIN: Final = re.compile(rb"[^ !#-\[\]-~]")
"""What a JSON string does not hold as it is, and what is not ASCII."""
_TAIL_BYTES: Final = 64
_SAMPLE_BYTES: Final = 1024

_AFTER_NUMBER: Final = re.compile(rb",")
_AFTER_PAIR: Final = re.compile(rb"\][ \t\r\n]*,")

_VALIDATORS: Final = {
    name: SchemaValidator(page_field_schema(name))
    for name in ("gfns", "gfn_ranges", "page_ranges", "words", "bitmap")
}


def _pieces(body: bytes, start: int, end: int, cut: re.Pattern[bytes]) -> Iterator[bytes]:
    """Cut at the commas that follow each so many bytes."""
    while start <= end:
        comma = cut.search(body, start + PIECE_BYTES, end)
        stop = end if comma is None else comma.end() - 1
        # White space alone would pass for a list without elements.
        yield b"[" + (body[start:stop].strip(SPACE) or b",") + b"]"
        start = stop + 1


def list_of(body: bytes, name: str) -> Gfns | PageRanges | Bitmap | None:
    """Read a body that is one list of this name; None if it is anything else.

    Raises:
        InvalidRequestError: the schema refuses an element.
    """
    head = re.match(_HEAD % name.encode(), body)
    tail = _TAIL.search(body, max(len(body) - _TAIL_BYTES, 0))
    if head is None or tail is None:
        return None
    return numbers_of(body, head.end(), tail.start(), name, (name,))


def numbers_of(
    body: bytes, start: int, end: int, name: str, within: tuple[str | int, ...]
) -> Gfns | PageRanges | Bitmap | None:
    """Read what is between the brackets of a list; None if it is anything else.

    Args:
        body: The text.
        start: Where the list's elements begin.
        end: Where they end.
        name: Of the set of pages.
        within: The names and indices that lead to the list.

    Raises:
        InvalidRequestError: the schema refuses an element.
    """
    cut = _AFTER_PAIR if name.endswith("_ranges") else _AFTER_NUMBER
    arrays: list[Any] = []
    pieces = _pieces(body, start, end, cut)
    for piece in pieces:
        try:
            # An array takes far less memory than a list, so each piece becomes one at once.
            arrays.append(np.array(_VALIDATORS[name].validate_json(piece), dtype=np.uint64))
        except ValidationError as refused:
            # A comma in a string or an inner list makes pieces that are not JSON by themselves.
            if _is_json(piece) and all(map(_is_json, pieces)):
                errors = body_errors(refused, within=within, before=sum(map(len, arrays)))
                raise InvalidRequestError(errors) from None
            return None
    return pages_from(name, np.concatenate(arrays))


def _is_json(piece: bytes) -> bool:
    try:
        from_json(piece, allow_inf_nan=False)
    except ValueError:
        return False
    return True


def bitmap_of(body: bytes) -> Bitmap | None:
    """Read a body that is one base64 bitmap; None if it is anything else.

    Raises:
        InvalidRequestError: it is not base64.
        InvalidArgumentError: its words are not whole.
    """
    head = _BITMAP_HEAD.match(body)
    tail = _BITMAP_TAIL.search(body, max(len(body) - _TAIL_BYTES, 0))
    if head is None or tail is None:
        return None
    return bitmap_in(body, head.end(), tail.start(), ("bitmap",))


def bitmap_in(body: bytes, start: int, end: int, within: tuple[str | int, ...]) -> Bitmap | None:
    """Read what is between the quotation marks of a bitmap; raises as `bitmap_of`."""
    step = PIECE_BYTES + -PIECE_BYTES % 4
    pieces = (body[at : min(at + step, end)] for at in range(start, end, step))
    octets = bytearray()
    for piece in pieces:
        if len(octets) % 3:  # the piece before was padded, so the text went on past its end
            break
        try:
            octets += octets_from_base64(piece)
        except binascii.Error:
            break
    else:
        return Bitmap(words_from_octets(memoryview(octets).toreadonly(), "bitmap"))
    if _NOT_PLAIN.search(piece) or any(map(_NOT_PLAIN.search, pieces)):
        return None
    if end - start < _SAMPLE_BYTES:
        return None
    # A problem shows a text's beginning, so a short one that is as wrong has the same.
    sample = body[start : start + _SAMPLE_BYTES]
    try:
        _VALIDATORS["bitmap"].validate_json(b'"' + sample + b'!"')
    except ValidationError as refused:
        raise InvalidRequestError(body_errors(refused, within=within)) from None
    raise AssertionError("an exclamation mark is not base64")


def pages_of(body: bytes, names: tuple[str, ...]) -> Gfns | PageRanges | Bitmap | None:
    """Read a body that is one set of pages, in one of these fields; None if it is anything else.

    Raises:
        InvalidRequestError: the schema refuses a part of it.
        InvalidArgumentError: the words of a bitmap are not whole.
    """
    for name in names:
        found = bitmap_of(body) if name == "bitmap" else list_of(body, name)
        if found is not None:
            return found
    return None
