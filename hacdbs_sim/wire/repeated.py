"""Fields that an object of a JSON text has twice: parsers keep the last one silently."""

import json
import re
from typing import Any, Final

from hacdbs_sim.wire.errors import InvalidRequestError, MalformedBodyError, error_at, pointer_to

FEW_NAMES: Final = 64
"""More names than these repeat, as those of a batch's actions do, so they are not compared first."""

_STRING: Final = re.compile(rb'"([^"]*)"[ \t\r\n]*:|"[^"]*"')
"""A field's name, or any other string, of a text without a backslash."""


def check_fields_once(body: bytes | str) -> None:
    """Refuse a JSON text in which an object has a field twice.

    The text has been parsed before, so it is JSON and not too deep.

    Raises:
        InvalidRequestError: A field is there twice; its error has the pointer.
    """
    octets = body.encode() if isinstance(body, str) else body
    colons = octets.count(b":")
    if colons < 2 or (colons <= FEW_NAMES and _has_distinct_names(octets)):
        return
    try:
        pointer = _Finder().find(octets)
    except (ValueError, RecursionError) as malformed:
        raise MalformedBodyError(f"the body is not JSON: {malformed}") from None
    if pointer is not None:
        raise field_twice(pointer)


def field_twice(pointer: str) -> InvalidRequestError:
    """Return the refusal of a field that an object has twice."""
    detail = "the field is there twice; an object has each field once"
    return InvalidRequestError((error_at("body", pointer, detail, bound=1, value=2),))


def _has_distinct_names(octets: bytes) -> bool:
    """Return whether all names of a text differ: so most texts need not be parsed again."""
    if b"\\" in octets:  # "a" and "\u0061" are the same name
        return False
    names = [found[1] for found in _STRING.finditer(octets) if found.lastindex]
    return len(set(names)) == len(names)


class _Twice:
    """What stands for a value that has a field twice within; `pointer` leads there."""

    def __init__(self, pointer: str) -> None:
        self.pointer = pointer


class _Finder:
    """Finds the first field that is there twice; no object is kept while it looks."""

    def __init__(self) -> None:
        self._has_found = False

    def find(self, octets: bytes) -> str | None:
        """Return the field's pointer; None if each is there once."""
        return _within(json.loads(octets, object_pairs_hook=self._take))

    def _take(self, pairs: list[tuple[str, Any]]) -> _Twice | None:
        if self._has_found:
            return _first_within(pairs)
        if len({name for name, _ in pairs}) == len(pairs):
            return None
        self._has_found = True
        known: set[str] = set()
        for name, _ in pairs:
            if name in known:
                return _Twice(pointer_to((name,)))
            known.add(name)
        raise AssertionError("a name is there twice")


def _first_within(pairs: list[tuple[str, Any]]) -> _Twice | None:
    for name, value in pairs:
        if (pointer := _within(value)) is not None:
            return _Twice(pointer_to((name,)) + pointer)
    return None


def _within(value: object) -> str | None:
    """Return the pointer to the field within a value, of which arrays are left."""
    if isinstance(value, _Twice):
        return value.pointer
    if isinstance(value, list):
        for index, item in enumerate(value):
            if (pointer := _within(item)) is not None:
                return f"/{index}{pointer}"
    return None
