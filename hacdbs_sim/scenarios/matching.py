"""Comparison of a response with its expected part, by JSON value."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeGuard

from hacdbs_sim.model import Mismatch

AT_LEAST: Final = "$at_least"
AT_MOST: Final = "$at_most"
MAX_MISMATCHES: Final = 20
"""The maximum number of mismatches reported for one response."""


def mismatches(expected: object, found: object) -> list[Mismatch]:
    """List where a response differs from the expected part."""
    return list(islice(_compare(expected, found, ""), MAX_MISMATCHES))


def _compare(expected: object, found: object, pointer: str) -> Iterator[Mismatch]:
    if isinstance(expected, dict) and expected.keys() in ({AT_LEAST}, {AT_MOST}):
        yield from _compare_bound(expected, found, pointer)
    elif isinstance(expected, dict):
        if isinstance(found, Mapping):
            yield from _compare_fields(expected, found, pointer)
        else:
            yield _mismatch(pointer, "must be an object", expected, found)
    elif isinstance(expected, list):
        if isinstance(found, list | tuple) and len(expected) == len(found):
            for index, (want, have) in enumerate(zip(expected, found, strict=True)):
                yield from _compare(want, have, f"{pointer}/{index}")
        else:
            other = f", not of {len(found)}" if isinstance(found, list | tuple) else ""
            detail = f"must be an array of {len(expected)}{other}"
            yield _mismatch(pointer, detail, expected, found)
    # To Python True is 1, to JSON it is not; 1 and 1.0 are the same to both
    elif isinstance(expected, bool) is not isinstance(found, bool) or expected != found:
        yield _mismatch(pointer, "must be what was expected", expected, found)


def _compare_fields(
    expected: Mapping[str, object], found: Mapping[str, object], pointer: str
) -> Iterator[Mismatch]:
    for name, want in expected.items():
        where = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        if name in found:
            yield from _compare(want, found[name], where)
        else:
            yield _mismatch(where, "must be there", want, None)


def _compare_bound(expected: Mapping[str, Any], found: object, pointer: str) -> Iterator[Mismatch]:
    ((name, bound),) = expected.items()
    if not (_is_number(bound) and _is_number(found)):
        yield _mismatch(pointer, f"{name} compares numbers", expected, found)
    elif name == AT_LEAST and found < bound:
        yield _mismatch(pointer, f"must be at least {bound}", expected, found)
    elif name == AT_MOST and found > bound:
        yield _mismatch(pointer, f"must be at most {bound}", expected, found)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mismatch(pointer: str, detail: str, expected: object, found: object) -> Mismatch:
    return Mismatch(pointer=pointer, detail=detail, expected=expected, found=found)
