"""JSON values out of a stream of octets, as QEMU reads them.

Values need no separator. Strings may be in single quotes. What is malformed is reported, and reading goes
on behind it: behind the bracket that does not fit, or the control character in a string.
"""

from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import orjson

from hacdbs_sim.qmp.errors import QmpError

Json: TypeAlias = Any

MAX_OCTETS: Final = 1 << 20
"""Of one value."""

MAX_DEPTH: Final = 1_000
"""Of brackets in brackets."""

_CLOSED_BY: Final = {ord("{"): ord("}"), ord("["): ord("]")}
_CLOSERS: Final = frozenset(_CLOSED_BY.values())
_QUOTES: Final = frozenset(b"\"'")
_SPACE: Final = frozenset(b" \t\r\n")
_DOUBLE: Final = ord('"')
_SINGLE: Final = ord("'")
_BACKSLASH: Final = ord("\\")


class JsonStream:
    """Cuts what is fed to it into values."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._text = bytearray()
        self._open: list[int] = []
        self._quote = 0
        self._is_escaped = False

    def feed(self, octets: bytes) -> Iterator[Json | QmpError]:
        """Yield each value that is complete now, and an error for what is malformed."""
        for octet in octets:
            try:
                yield from self._take(octet)
            except QmpError as error:
                self._reset()
                yield error

    def _take(self, octet: int) -> Iterator[Json]:
        if len(self._text) >= MAX_OCTETS:
            raise QmpError(f"JSON token size limit exceeded: {MAX_OCTETS} octets")
        if self._quote:
            yield from self._in_string(octet)
        elif octet in _SPACE:
            yield from self._end_scalar()
        elif octet in _QUOTES:
            yield from self._end_scalar()
            self._quote = octet
            self._text.append(_DOUBLE)
        elif octet in _CLOSED_BY:
            yield from self._end_scalar()
            if len(self._open) >= MAX_DEPTH:
                raise QmpError(f"JSON nesting depth limit exceeded: {MAX_DEPTH}")
            self._open.append(_CLOSED_BY[octet])
            self._text.append(octet)
        elif octet in _CLOSERS:
            yield from self._end_scalar()
            self._text.append(octet)
            if not self._open or self._open.pop() != octet:
                raise QmpError(f"JSON parse error, stray '{chr(octet)}'")
            yield from self._end_outermost()
        else:
            self._text.append(octet)

    def _in_string(self, octet: int) -> Iterator[Json]:
        if octet < ord(" "):
            raise QmpError(f"JSON parse error, control character {octet:#04x} in a string")
        if self._is_escaped:
            self._is_escaped = False
            if octet == _SINGLE:
                self._text.pop()  # JSON has no escape of it
            self._text.append(octet)
        elif octet == _BACKSLASH:
            self._is_escaped = True
            self._text.append(octet)
        elif octet == self._quote:
            self._quote = 0
            self._text.append(_DOUBLE)
            yield from self._end_outermost()
        elif octet == _DOUBLE:
            self._text += b'\\"'
        else:
            self._text.append(octet)

    def _end_scalar(self) -> Iterator[Json]:
        if self._text and not self._open:
            yield from self._end_outermost()
        elif self._open:
            self._text.append(ord(" "))  # what it separates stays apart

    def _end_outermost(self) -> Iterator[Json]:
        if self._open:
            return
        text = bytes(self._text)
        self._reset()
        try:
            yield orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise QmpError(f"JSON parse error, {error}") from None
