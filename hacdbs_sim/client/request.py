"""Requests as values: what is sent, and whether it may be sent again. No I/O."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from typing_extensions import override

from hacdbs_sim.wire import write

__tracebackhide__ = True

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
KEY_HEADER: Final = "Idempotency-Key"

Params: TypeAlias = Mapping[str, str | int | bool | None]
"""A query; None is left out."""

Body: TypeAlias = Mapping[str, Any] | bytes
"""A body: fields to be sent as JSON, of the model too, or octets."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        method: The HTTP method.
        path: The path, its parts quoted.
        params: The query.
        headers: Headers besides those of every request.
        content: The body, if there is one.
    """

    method: str
    path: str
    params: Params = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None

    @property
    def is_repeatable(self) -> bool:
        """Whether the request may be sent again although the first one may have been served.

        With a precondition the second could be refused because of what the first one did, as if
        another client had changed the object.
        """
        if self.method == "POST":
            return KEY_HEADER in self.headers
        return not {"If-Match", "If-None-Match"} & self.headers.keys()

    def arguments(self) -> dict[str, Any]:
        """Return httpx's arguments of the request."""
        return {
            "method": self.method,
            "url": self.path,
            "params": self.params,
            "headers": self.headers,
            "content": self.content,
        }

    @override
    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def path(*parts: str | int) -> str:
    """Return a path; reject a name that would select another resource."""
    for part in parts:
        if part in {"", ".", ".."}:
            raise ValueError(f"a name in a path must not be {part!r}")
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


def build(
    method: str,
    *parts: str | int,
    params: Params | None = None,
    body: Body | None = None,
    key: str | None = None,
    headers: Mapping[str, str | None] | None = None,
) -> Request:
    """Return a request; a POST without a key gets a new one, so that it can be retried."""
    sent = given(**headers or {})
    if method == "POST":
        sent[KEY_HEADER] = key or uuid.uuid4().hex
    if body is not None and not isinstance(body, bytes):
        sent["Content-Type"] = JSON
        body = write(body)
    elif body is not None:
        sent["Content-Type"] = OCTETS
    return Request(method, path(*parts), given(**params or {}), sent, body)


def given(**fields: object) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
