"""Requests: their paths, headers and bodies. No I/O."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import httpx

__tracebackhide__ = True

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
KEY_HEADER: Final = "Idempotency-Key"

Params: TypeAlias = Mapping[str, str | int | bool | None]
"""A query; None is left out."""

Body: TypeAlias = Mapping[str, Any] | bytes
"""A body: fields to be sent as JSON, of the model too, or octets."""


def path_of(*parts: str | int) -> str:
    """Return a path; reject a name that would select another resource."""
    for part in parts:
        if part in {"", ".", ".."}:
            raise ValueError(f"a name in a path must not be {part!r}")
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def name_of(request: httpx.Request) -> str:
    """Return how messages name a request."""
    return f"{request.method} {request.url.raw_path.decode().partition('?')[0]}"


def given(**fields: object) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def arguments(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a method that are not None, of its `locals()`; without headers."""
    others = {"self", "key", "if_match", "if_none_match"}
    return given(**{name: value for name, value in scope.items() if name not in others})
