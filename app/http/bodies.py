"""Reading request bodies: media type, size, JSON, schema, in this order.

Bodies are read raw and validated by the wire in one pass, so text that is not JSON is distinguished
from JSON that the schema refuses, and nothing is decoded twice. A route documents the bodies that its
dependencies read.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from fastapi import Depends
from starlette.requests import Request
from typing_extensions import override

from hacdbs_sim.model import Bitmap, Gfns
from hacdbs_sim.wire import Reader, body_class, error_at, reader_of
from hacdbs_sim.wire.codec import words_from_octets

from .deps import context_of
from .problems import BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, Refusal
from .responses import JSON_MEDIA_TYPE, NOT_JSON, OCTETS_MEDIA_TYPE

THREAD_BYTES: Final = 1 << 18
"""Bodies longer than this are decoded in a worker thread."""

SMALL_BODY: Final = 1 << 20
"""The maximum body of an operation that reads no pages; other routes set their own."""

T = TypeVar("T")


def media_type_of(request: Request, *accepted: str) -> str:
    """Return the body's media type, which must be one of those that the operation reads."""
    given = request.headers.get("content-type", "")
    media_type = given.partition(";")[0].strip().lower()
    if media_type not in accepted:
        names = " or ".join(accepted)
        found = f"not {given[:64]!r}" if given else "and it is missing"
        raise Refusal(
            UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type must be {names}, {found}",
            headers={"Accept-Post": ", ".join(accepted)},
        )
    return media_type


def _bounds(request: Request, max_bytes: int | None = None) -> tuple[int, int | None]:
    """Return the maximum length of the body, and its Content-Length, if any."""
    limit = context_of(request).max_body_bytes
    if max_bytes is not None:
        limit = min(limit, max_bytes)
    given = request.headers.get("content-length", "")
    if not (given.isdigit() and len(given) < 20):
        return limit, None
    length = int(given)
    if length > limit:
        raise _too_large(limit)
    return limit, length


async def read_body(request: Request, max_bytes: int | None = None) -> bytes:
    """Read the whole body, up to the limit; the bytes of a chunked body are counted on arrival."""
    limit, _ = _bounds(request, max_bytes)
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    if size > THREAD_BYTES:  # a copy of 64 MiB takes longer than others may wait
        return await asyncio.to_thread(b"".join, chunks)
    return b"".join(chunks)


async def read_octets(request: Request) -> bytes | memoryview:
    """Read a whole body of octets.

    If its length is known, each chunk is copied to its place on arrival: no join, and no thread for it.
    """
    _, length = _bounds(request)
    if length is None or length <= THREAD_BYTES:
        return await read_body(request)
    octets = np.empty(length, np.uint8).data  # takes no memory before it is written
    size = 0
    async for chunk in request.stream():
        if size + len(chunk) > length:
            raise _too_large(length)
        octets[size : size + len(chunk)] = chunk
        size += len(chunk)
    return octets[:size].toreadonly()


def _too_large(limit: int) -> Refusal:
    error = error_at("body", "", "the body is too long", bound=limit)
    return Refusal(BODY_TOO_LARGE, f"the body must have at most {limit} bytes", (error,))


async def decode(function: Callable[..., T], body: bytes) -> T:
    """Decode a body here if it is short, else in a worker thread."""
    if len(body) <= THREAD_BYTES:
        return function(body)
    return await asyncio.to_thread(function, body)


@dataclass(frozen=True, slots=True, eq=False)
class JsonBody:
    """A JSON body, which `read` reads as a dependency of a route.

    `parse` reads it in place of the `reader`, which has its schema. Without `max_bytes` it may be as long
    as the service reads. Where it is not required, fields have their defaults.
    """

    reader: Reader[Any]
    max_bytes: int | None = SMALL_BODY
    required: bool = True
    parse: Callable[[bytes], Any] | None = None

    async def read(self, request: Request) -> Any:  # noqa: ANN401 - as the route annotates it
        """Read the body of a request."""
        if self.required:
            media_type_of(request, JSON_MEDIA_TYPE)
        body = await read_body(request, self.max_bytes)
        if not self.required:
            if not body and "content-type" not in request.headers:
                return self.reader(b"{}")
            media_type_of(request, JSON_MEDIA_TYPE)
        return await decode(self.parse or self.reader, body)

    def described(self) -> dict[str, Any]:
        """Describe the body for the OpenAPI document, which adds the schema."""
        return {"required": self.required, "content": {JSON_MEDIA_TYPE: {"schema": {}}}}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PagesBody(JsonBody):
    """Pages, as JSON or as octets of a `kind`; the text describes both."""

    kind: type[Bitmap | Gfns]
    text: str

    @override
    async def read(self, request: Request) -> Any:
        if media_type_of(request, JSON_MEDIA_TYPE, OCTETS_MEDIA_TYPE) == JSON_MEDIA_TYPE:
            body = await decode(self.reader, await read_body(request))
            # The whole action, where the query has none of its fields
            return body["pages"] if isinstance(body, dict) else body.pages
        words = words_from_octets(await read_octets(request), self.kind.__name__.lower())
        return self.kind(words)

    @override
    def described(self) -> dict[str, Any]:
        content = {JSON_MEDIA_TYPE: {"schema": {}}, OCTETS_MEDIA_TYPE: NOT_JSON}
        return {"required": True, "content": content, "description": self.text}


def json_body(
    kind: type,
    max_bytes: int | None = SMALL_BODY,
    *,
    without: str = "",
    required: bool = True,
    parse: Callable[[bytes], Any] | None = None,
) -> Any:  # noqa: ANN401 - as `Depends`
    """Return the dependency that reads a JSON body: a class of the model, `without` a field."""
    reader = body_class(kind, without=frozenset({without})) if without else reader_of(kind)
    return Depends(JsonBody(reader, max_bytes, required, parse).read)


def pages_body(
    action: type, kind: type[Bitmap | Gfns], text: str, without: tuple[str, ...] = ()
) -> Any:  # noqa: ANN401 - as `Depends`
    """Return the dependency that reads the pages of an action; the query has its other fields."""
    reader = body_class(action, without=frozenset(without))
    return Depends(PagesBody(reader, kind=kind, text=text).read)
