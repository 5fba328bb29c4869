"""Refusals of a reader: text that is not JSON, and JSON that the schema refuses, part by part."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final

from pydantic_core import CoreSchema, ErrorDetails, ValidationError

from hacdbs_sim.model.problems import Place, ProblemError, Shown
from hacdbs_sim.wire.actions import TAG_ERROR, TAGS
from hacdbs_sim.wire.known_fields import known_fields

MAX_VALUE_CHARS: Final = 64
MAX_SHOWN_BITS: Final = 256
MAX_EXACT: Final = (1 << 53) - 1
"""Integers beyond are shown as text: many clients would round them."""

MAX_ERRORS: Final = 20
"""The most faults of one request that a problem lists."""

MAX_DETAILED: Final = 1_000
"""The most faults of a body that are reported one by one: pydantic details all or none."""

MIN_LIKENESS: Final = 0.7
"""How like the name of a field another must be to be proposed, of at most 1."""

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
    """Return a value as a problem shows it: short, exact, and always valid JSON.

    None stands for what is not short: `kind_of` names it.
    """
    if kind_of(value) is not None:
        return None
    match value:
        case bool() | None:
            return value
        case int() if abs(value) <= MAX_EXACT:
            return value
        case float() if isfinite(value):
            return value
        case _:
            # A lone surrogate (of a URL) cannot be encoded.
            return str(value)[:max_chars].encode("utf-8", "replace").decode("utf-8")


def kind_of(value: object) -> str | None:
    """Return what a value is that is never shown; None for one that is."""
    match value:
        case dict():
            return "an object"
        case list() | tuple():
            return "an array"
        case int() if value.bit_length() > MAX_SHOWN_BITS:
            return "a longer integer"
        case _:
            return None


def error_at(
    place: Place, pointer: str, detail: str, *, bound: object = None, value: object = None
) -> ProblemError:
    """Describe one part of the request at fault."""
    return ProblemError(
        in_=place, pointer=pointer, detail=detail, bound=shown(bound, None), value=shown(value)
    )


_OBJECT: Final = "must be an object"
_ARRAY: Final = "must be an array"
_CHOICE: Final = "must be {choice}"
_INTEGER: Final = "must be an integer"
_TRUTH: Final = "must be true or false"
_LEAST: Final = "length must be at least {min_length}"
_MOST: Final = "length must be at most {max_length}"

_DETAILS: Final[Mapping[str, str]] = {
    "missing": "is required",
    "dataclass_type": _OBJECT,
    "dict_type": _OBJECT,
    "list_type": _ARRAY,
    "tuple_type": _ARRAY,
    "string_type": "must be a string",
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "enum": _CHOICE,
    "literal_error": _CHOICE,
    "too_short": _LEAST,
    "string_too_short": _LEAST,
    "too_long": _MOST,
    "string_too_long": _MOST,
    "string_pattern_mismatch": "must match {pattern}",
}
"""What is wrong, by pydantic's type of the error; our own validators say it themselves."""

_UNKNOWN_FIELD: Final = frozenset({"extra_forbidden", "unexpected_keyword_argument"})
"""A field that no class has: pydantic's error of a dict, and of a dataclass."""

_OF_FIELDS: Final = _UNKNOWN_FIELD | {
    "exactly_one",
    "not_both",
    "invalid_argument",
    "value_error",
}
"""Errors of the fields of an object: that it is an object needs no mention."""

_LENGTH: Final = frozenset({"too_short", "too_long"})
_PAIRS: Final[Mapping[str | int, str]] = {
    "gfn_ranges": "[first, count]",
    "page_ranges": "[first, count]",
    "gpa_ranges": "[address, length]",
}
"""Lists of pairs, and what each pair is."""

_NAME: Final = re.compile("'([^']*)'")
"""A text among those that pydantic expects, also where it shows a member of an enum."""


def unknown_field(name: str, known: Iterable[str]) -> str:
    """Say that there is no such field, and which one was perhaps meant."""
    close = get_close_matches(name[:MAX_VALUE_CHARS], known, n=1, cutoff=MIN_LIKENESS)
    return "there is no such field" + "".join(f"; did you mean {each}?" for each in close)


def detail_of(error: Mapping[str, Any]) -> str:
    """Return what is wrong, in one wording for all classes, and in words of JSON."""
    if (detail := _DETAILS.get(error["type"])) is not None:
        return detail.format_map(_context_of(error))
    message: str = error["msg"]
    return message.removeprefix("Value error, ")


def _context_of(error: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bounds that were broken: names as they are on the wire, whole numbers as such."""
    context = dict(error.get("ctx", {}))
    for name, bound in context.items():
        if isinstance(bound, float) and bound.is_integer():
            context[name] = int(bound)
    if "expected" in context:
        names = _NAME.findall(context["expected"])
        context["expected"] = expected = ", ".join(names)
        context["choice"] = f"one of {expected}" if len(names) > 1 else expected
    return context


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


def _without_echoes(errors: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out that a list is too short where one of its elements was refused: it was not counted."""
    owners = {error["loc"][:depth] for error in errors for depth in range(len(error["loc"]))}
    return [each for each in errors if each["type"] != "too_short" or each["loc"] not in owners]


def _error_at(place: Place, pointer: str, error: Mapping[str, Any]) -> ProblemError:
    context = _context_of(error)
    bound = next((context[name] for name in _BOUNDS if name in context), None)
    value = error["input"]
    if error["type"] == "missing":
        value = None
    elif error["type"] in _LENGTH:
        value = context["actual_length"]
    detail = detail_of(error)
    if error["type"] not in _OF_FIELDS and (kind := kind_of(value)) is not None:
        detail += f" (got {kind})"
    return error_at(place, pointer, detail, bound=bound, value=value)


def _named(error: ErrorDetails, schema: CoreSchema | None) -> ErrorDetails:
    """Name the fields that an error is about: those that are known, and that of a tag."""
    loc = error["loc"]
    if error["type"] in _UNKNOWN_FIELD:
        known = () if schema is None else known_fields(schema, loc[:-1])
        return {**error, "msg": unknown_field(str(loc[-1]), known)}
    if error["type"] == TAG_ERROR:
        name, tags = error["ctx"]["discriminator"], error["ctx"]["expected_tags"]
        given: dict[str, Any] = error["input"]
        msg = f"must be one of {tags}" if name in given else f"is required; one of {tags}"
        return {**error, "loc": (*loc, name), "input": given.get(name), "msg": msg}
    return error


def _of_pair(error: ErrorDetails) -> ErrorDetails:
    """Say what a pair of a list is, whatever is wrong with its length or type."""
    loc, value = error["loc"], error["input"]
    match error["type"]:
        case "missing":  # one of its elements
            loc, value = loc[:-1], None
        case "too_long":
            value = None
        case "tuple_type":
            pass
        case _:
            return error
    if len(loc) < 2 or not isinstance(loc[-1], int) or loc[-2] not in _PAIRS:
        return error
    pair = _PAIRS[loc[-2]]
    context = {"bound": pair}
    return {"type": "pair", "loc": loc, "msg": f"must be {pair}", "input": value, "ctx": context}


def body_errors(
    refused: ValidationError,
    schema: CoreSchema | None = None,
    *,
    within: tuple[str | int, ...] = (),
    before: int | None = None,
) -> tuple[ProblemError, ...]:
    """Describe what pydantic refused in a body, or in a part of it.

    Args:
        refused: Its refusal.
        schema: What refused it, if it has fields.
        within: The names and indices that lead to the part.
        before: How many elements come before the part's first, where it is a piece of a list.
    """
    count = refused.error_count()
    if count > MAX_DETAILED:
        detail = f"the body breaks the schema in {count} places"
        return (error_at("body", "", detail, bound=0, value=count),)
    described: list[ProblemError] = []
    for refusal in _without_echoes(refused.errors(include_url=False))[:MAX_ERRORS]:
        error = _named(refusal, schema)
        loc = error["loc"]
        if before is not None and loc:
            loc = (before + int(loc[0]), *loc[1:])
        error = _of_pair({**error, "loc": (*within, *loc)})
        described.append(_error_at("body", _pointer(error), error))
    return tuple(described)


def parameter_errors(errors: Sequence[Mapping[str, Any]]) -> tuple[ProblemError, ...]:
    """Describe what was refused in path and query; their paths begin with the place."""
    return tuple(
        _error_at(error["loc"][0], str(error["loc"][1]), error) for error in errors[:MAX_ERRORS]
    )
