"""Refusals of a reader: text that is not JSON, and JSON that the schema refuses, part by part."""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, Final

from pydantic_core import ErrorDetails, ValidationError

from hacdbs_sim.model.problems import Place, ProblemError, Shown
from hacdbs_sim.wire.actions import TAGS

MAX_VALUE_CHARS: Final = 64
MAX_SHOWN_BITS: Final = 256
MAX_EXACT: Final = (1 << 53) - 1
"""Integers beyond are shown as text: many clients would round them."""

MAX_ERRORS: Final = 20
"""The most faults of one request that a problem lists."""

MAX_DETAILED: Final = 1_000
"""The most faults of a body that are reported one by one: pydantic details all or none."""

_BOUNDS: Final = (
    "ge",
    "gt",
    "le",
    "lt",
    "multiple_of",
    "max_length",
    "min_length",
    "pattern",
    "expected",
    "expected_tags",
    "bound",
)
"""Keys under which pydantic, and our own validators, name the bound that was broken."""


class MalformedBodyError(ValueError):
    """The text is not JSON: malformed, NaN or Infinity, nested too deep, or not UTF-8."""


class InvalidRequestError(ValueError):
    """The schema refuses parts of a request: `errors`, at least one."""

    def __init__(self, errors: tuple[ProblemError, ...]) -> None:
        first = errors[0]
        self.detail = f"{first.pointer or 'the body'}: {first.detail}"
        self.errors = errors
        super().__init__(self.detail)


def shown(value: object, max_chars: int | None = MAX_VALUE_CHARS) -> Shown:
    """Return a value as a problem shows it: short, exact, and always valid JSON."""
    match value:
        case bool() | None:
            return value
        case int() if abs(value) <= MAX_EXACT:
            return value
        case float() if isfinite(value):
            return value
        case _:
            # A lone surrogate (of a URL) cannot be encoded.
            return _text_of(value)[:max_chars].encode("utf-8", "replace").decode("utf-8")


def _text_of(value: object) -> str:
    match value:
        case dict():
            return "an object"
        case list() | tuple():
            return "an array"
        case int() if value.bit_length() > MAX_SHOWN_BITS:
            return "a longer integer"
        case _:
            return str(value)


def error_at(
    place: Place, pointer: str, detail: str, *, bound: object = None, value: object = None
) -> ProblemError:
    """Describe one part of the request at fault."""
    return ProblemError(
        in_=place, pointer=pointer, detail=detail, bound=shown(bound, None), value=shown(value)
    )


_UNKNOWN_FIELD: Final = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
"""A field that no class has: pydantic's error of a dict, and of a dataclass."""

_MEMBER: Final = re.compile(r"<\w+\.\w+: ('[^']*')>")
"""A member of an enum as Python shows it."""

UNKNOWN_FIELD_DETAIL: Final = "Extra inputs are not permitted"


def _pointer(error: ErrorDetails) -> str:
    """Write a JSON pointer; the tag of a union is in pydantic's path, not in the document."""
    loc = error["loc"]
    steps = [step for step in loc if not (isinstance(step, str) and step in TAGS)]
    if error["type"] in _UNKNOWN_FIELD and loc[-1] in TAGS:
        steps.append(loc[-1])  # a field that should not be there, named like a tag
    return pointer_to(steps)


def pointer_to(steps: Iterable[str | int]) -> str:
    """Write the JSON pointer to a part, by the names and indices that lead to it."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def _detail_of(error: Mapping[str, Any]) -> str:
    """Return what is wrong, in one wording for all classes, and in words of JSON."""
    if error["type"] in _UNKNOWN_FIELD:
        return UNKNOWN_FIELD_DETAIL
    detail = _in_json(error["msg"])
    is_length = error["type"] in {"too_short", "too_long"}
    return detail.replace("Tuple", "List", 1) if is_length else detail


def _in_json(text: str) -> str:
    """Write members of enums as the texts that they are on the wire."""
    return _MEMBER.sub(r"\1", text)


def _without_echoes(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out that a list is too short where one of its elements was refused: it was not counted."""
    owners = {error["loc"][:depth] for error in errors for depth in range(len(error["loc"]))}
    return [each for each in errors if each["type"] != "too_short" or each["loc"] not in owners]


def _error_at(place: Place, pointer: str, error: Mapping[str, Any]) -> ProblemError:
    context = error.get("ctx", {})
    bound = next((context[name] for name in _BOUNDS if name in context), None)
    if isinstance(bound, str) and error["type"] == "literal_error":
        bound = _in_json(bound)
    absent = error["type"] == "missing"
    return error_at(
        place, pointer, _detail_of(error), bound=bound, value=None if absent else error["input"]
    )


def body_errors(
    refused: ValidationError, *, within: tuple[str | int, ...] = (), before: int | None = None
) -> tuple[ProblemError, ...]:
    """Describe what pydantic refused in a body, or in a part of it.

    Args:
        refused: Its refusal.
        within: The names and indices that lead to the part.
        before: How many elements come before the part's first, where it is a piece of a list.
    """
    count = refused.error_count()
    if count > MAX_DETAILED:
        detail = f"the body breaks the schema in {count} places"
        return (error_at("body", "", detail, bound=0, value=count),)
    errors = _without_echoes(refused.errors(include_url=False))
    for error in errors:
        loc = error["loc"]
        if before is not None and loc:
            loc = (before + int(loc[0]), *loc[1:])
        error["loc"] = (*within, *loc)
    return tuple(_error_at("body", _pointer(error), error) for error in errors[:MAX_ERRORS])


def parameter_errors(errors: Sequence[Mapping[str, Any]]) -> tuple[ProblemError, ...]:
    """Describe what was refused in path and query; their paths begin with the place."""
    return tuple(
        _error_at(error["loc"][0], str(error["loc"][1]), error) for error in errors[:MAX_ERRORS]
    )
