"""JSON texts cut into their parts, without being decoded: where each member of an array or object is.

Strings, brackets and commas are found by arrays over a piece of the text at a time, so that no call into
C holds the interpreter for long. The parts are not decoded here; the code that decodes them refuses
malformed JSON.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic_core import from_json

from hacdbs_sim.wire.errors import MalformedBodyError

PIECE_BYTES: Final = 1 << 16
"""A text up to this long is decoded at once."""

SCANNED_BYTES: Final = 1 << 18

SPACE: Final = b" \t\r\n"
"""JSON's white space; that of `re` and of `bytes.strip` has more."""

_OPENING: Final = b"[{"
_CLOSING: Final = {"[": "]", "{": "}"}
_BEGIN: Final = re.compile(rb"[ \t\r\n]*")
_ESCAPE: Final = re.compile(rb"\\.", re.DOTALL)
_KEY: Final = re.compile(rb'[ \t\r\n]*("(?:[^"\\]|\\.)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_NOT_NUMBERS: Final = re.compile(rb'[\[\]{}"\\]')
_MAX_KEY_BYTES: Final = 1 << 12

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]


class Span(NamedTuple):
    """A part of a text, without white space around it."""

    begin: int
    end: int

    @property
    def is_long(self) -> bool:
        """Whether it is decoded in pieces."""
        return self.end - self.begin > PIECE_BYTES


def malformed(detail: str, at: int) -> MalformedBodyError:
    """Return the refusal of a text that is not JSON from a place on."""
    return MalformedBodyError(f"the body is not JSON: {detail} near byte {at}")


def whole(body: bytes) -> Span:
    """Return the span of a whole text."""
    return _trimmed(body, 0, len(body))


def _trimmed(body: bytes, begin: int, end: int) -> Span:
    match = _BEGIN.match(body, begin, end)
    assert match is not None, "nothing matches too"
    begin = match.end()
    while end > begin and body[end - 1] in SPACE:
        end -= 1
    return Span(begin, end)


def decode(body: bytes, span: Span, *, at: int = 0) -> object:
    """Decode a part at once; the text itself is a part of a body, from `at` on."""
    try:
        return from_json(body[span.begin : span.end], allow_inf_nan=False)
    except ValueError as error:
        raise malformed(str(error), at + span.begin) from None


def is_array(body: bytes, span: Span) -> bool:
    """Whether a part begins like an array."""
    return body[span.begin : span.begin + 1] == b"["


def is_object(body: bytes, span: Span) -> bool:
    """Whether a part begins like an object."""
    return body[span.begin : span.begin + 1] == b"{"


def is_empty_array(body: bytes, span: Span) -> bool:
    """Whether a part is an array without elements, however much white space is in it."""
    return is_array(body, span) and next(parts(body, span), None) is None


def parts(body: bytes, span: Span) -> Iterator[Span]:
    """Yield the parts between the commas of an array or object; one that is empty has none.

    Raises:
        MalformedBodyError: It does not end where the text does, or a part is empty.
    """
    begin = span.begin + 1
    for comma in _commas(body, span):
        part = _trimmed(body, begin, comma)
        if part.begin == part.end:
            if comma == span.end - 1 and begin == span.begin + 1:
                return
            raise malformed("a value is missing", part.begin)
        yield part
        begin = comma + 1


def members(body: bytes, span: Span) -> Iterator[tuple[str, Span]]:
    """Yield name and value of each member of an object.

    Raises:
        MalformedBodyError: As `parts`, or a member has no name.
    """
    for part in parts(body, span):
        match = _KEY.match(body, part.begin, min(part.end, part.begin + _MAX_KEY_BYTES))
        if match is None or match.end() == part.end:
            raise malformed("a member of an object is missing", part.begin)
        name = decode(body, Span(*match.span(1)))
        assert isinstance(name, str), "it is in quotation marks"
        yield name, Span(match.end(), part.end)


def _commas(body: bytes, span: Span) -> Iterator[int]:
    """Yield where the commas of an array or object are, and at last where it closes."""
    if span.begin == span.end or body[span.begin] not in _OPENING:
        raise malformed("expected an array or an object", span.begin)
    closing = _CLOSING[chr(body[span.begin])]
    depth, in_string, escapes_next = 0, False, False
    for at in range(span.begin, span.end, SCANNED_BYTES):
        count = min(SCANNED_BYTES, span.end - at)
        if depth > 1 and not (
            in_string or escapes_next or _NOT_NUMBERS.search(body, at, at + count)
        ):
            continue  # in a list of numbers
        octets = np.frombuffer(body, np.uint8, count, at)
        quotes = octets == ord('"')
        if escapes_next:
            quotes[0] = False
        escapes_next = _drop_escaped(body, at, count, octets, quotes, escaped=escapes_next)
        inside = np.logical_xor.accumulate(quotes) ^ in_string
        in_string = bool(inside[-1])
        outside = ~inside
        steps = ((octets | 0x20) == ord("{")).view(np.int8) - ((octets | 0x20) == ord("}")).view(
            np.int8
        )
        steps *= outside.view(np.int8)
        depths = depth + np.cumsum(steps, dtype=np.int32)
        depth = int(depths[-1])
        closes = np.flatnonzero(depths == 0)
        end = int(closes[0]) if closes.size else count
        commas = (octets == ord(",")) & outside & (depths == 1)
        for comma in np.flatnonzero(commas[:end]).tolist():
            yield at + comma
        if closes.size:
            if at + end != span.end - 1:
                raise malformed("trailing characters", at + end + 1)
            if chr(body[at + end]) != closing:
                raise malformed(f"expected `{closing}`", at + end)
            yield at + end
            return
    raise malformed("the text ends too early", span.end)


def _drop_escaped(
    body: bytes, at: int, count: int, octets: Bytes, quotes: Flags, *, escaped: bool
) -> bool:
    """Drop the quotation marks behind a backslash; return whether one is the piece's last byte."""
    if not (octets == ord("\\")).any():
        return False
    end = at + escaped
    for match in _ESCAPE.finditer(body, at + escaped, at + count):
        quotes[match.end() - 1 - at] = False
        end = match.end()
    last = at + count - 1
    return end <= last and body[last] == ord("\\")


def canonical(body: bytes, span: Span) -> bytes:
    """Write a text with the names of each object in order and without white space."""
    if not span.is_long or not (is_array(body, span) or is_object(body, span)):
        return orjson.dumps(decode(body, span), option=orjson.OPT_SORT_KEYS)
    if is_array(body, span):
        text = b",".join([canonical(body, part) for part in parts(body, span)])
        return b"".join((b"[", text, b"]"))
    named = dict(members(body, span))
    written = [orjson.dumps(name) + b":" + canonical(body, named[name]) for name in sorted(named)]
    return b"".join((b"{", b",".join(written), b"}"))


def abridged(body: bytes, span: Span, depth: int = 2) -> object:
    """Decode a text without what is long in it: long arrays are empty, and objects deep within."""
    if not span.is_long:
        return decode(body, span)
    if is_object(body, span):
        found = members(body, span) if depth else ()
        return {name: abridged(body, part, depth - 1) for name, part in found}
    return [] if is_array(body, span) else decode(body, span)
