"""Requests: their paths, headers and bodies. No I/O."""

import uuid
from collections.abc import Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import httpx

from hacdbs_sim.wire import write

__tracebackhide__ = True

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"
KEY_HEADER: Final = "Idempotency-Key"

Params: TypeAlias = Mapping[str, str | int | bool | None]
"""A query; None is left out."""

Body: TypeAlias = Mapping[str, Any] | bytes
"""A body: fields to be sent as JSON, of the model too, or octets."""


def build(
    http: httpx.Client | httpx.AsyncClient,
    method: str,
    *parts: str | int,
    params: Params | None = None,
    body: Body | None = None,
    key: str | None = None,
    headers: Mapping[str, str | None] | None = None,
) -> httpx.Request:
    """Return a request; a POST without a key gets a new one, so that it can be retried."""
    for part in parts:
        if part in {"", ".", ".."}:  # it would select another resource
            raise ValueError(f"a name in a path must not be {part!r}")
    sent: dict[str, str] = given(**headers or {})
    if method == "POST":
        sent[KEY_HEADER] = key or uuid.uuid4().hex
    if body is not None:
        sent["Content-Type"] = OCTETS if isinstance(body, bytes) else JSON
        body = body if isinstance(body, bytes) else write(body)
    path = "/" + "/".join(quote(str(part), safe="") for part in parts)
    return http.build_request(
        method, path, params=given(**params or {}), headers=sent, content=body
    )


def name_of(request: httpx.Request) -> str:
    """Return how messages name a request."""
    return f"{request.method} {request.url.raw_path.decode().partition('?')[0]}"


def given(**fields: object) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def arguments(scope: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a method that are not None, of its `locals()`; without `key`."""
    return given(**{name: value for name, value in scope.items() if name not in {"self", "key"}})
