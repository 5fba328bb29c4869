"""What pydantic refuses, as problems: place, bound and value of each fault."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import ErrorDetails, ValidationError

from .problems import INVALID_REQUEST, MAX_ERRORS, Refusal, error_at
from .schemas.problem import Place, ProblemErrorOut

MAX_DETAILED: Final = 1_000
"""The most faults of a body that are looked at one by one: pydantic details all or none."""

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


def _pointer(error: ErrorDetails, tags: frozenset[str]) -> str:
    """Write a JSON pointer; the tag of a union is in pydantic's path, not in the document."""
    loc = error["loc"]
    steps = [str(step) for step in loc if not (isinstance(step, str) and step in tags)]
    if error["type"] == "extra_forbidden" and loc[-1] in tags:
        steps.append(str(loc[-1]))  # a field that should not be there, named like a tag
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _error_at(place: Place, pointer: str, error: Mapping[str, Any]) -> ProblemErrorOut:
    context = error.get("ctx", {})
    bound = next((context[name] for name in _BOUNDS if name in context), None)
    absent = error["type"] == "missing"
    return error_at(
        place, pointer, error["msg"], bound=bound, value=None if absent else error["input"]
    )


def body_errors(
    refused: ValidationError,
    tags: frozenset[str] = frozenset(),
    *,
    within: tuple[str, int] | None = None,
) -> tuple[ProblemErrorOut, ...]:
    """Describe what pydantic refused in a body.

    Args:
        refused: What it refused.
        tags: Tags of the body's unions.
        within: The field whose list was refused, if only a piece of it was validated, and how many
            elements came before that piece.
    """
    count = refused.error_count()
    if count > MAX_DETAILED:
        detail = f"the body breaks the schema in {count} places"
        return (error_at("body", "", detail, bound=0, value=count),)
    errors = refused.errors(include_url=False)
    if within is not None:
        name, before = within
        for error in errors:
            first, *rest = error["loc"]
            error["loc"] = (name, before + int(first), *rest)
    return tuple(_error_at("body", _pointer(error, tags), error) for error in errors[:MAX_ERRORS])


def parameter_errors(errors: Sequence[Mapping[str, Any]]) -> tuple[ProblemErrorOut, ...]:
    """Describe what was refused in path and query; their paths begin with the place."""
    return tuple(
        _error_at(error["loc"][0], str(error["loc"][1]), error) for error in errors[:MAX_ERRORS]
    )


def invalid_request(errors: tuple[ProblemErrorOut, ...]) -> Refusal:
    """Refuse what the schema refuses."""
    first = errors[0]
    where = first["pointer"] or "the body"
    return Refusal(INVALID_REQUEST, f"{where}: {first['detail']}", errors)
