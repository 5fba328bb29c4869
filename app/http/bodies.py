"""Reading request bodies: media type, size, JSON, schema, in this order.

Bodies are read raw and validated by the wire in one pass, so text that is not JSON is distinguished
from JSON that the schema refuses, and nothing is decoded twice. A route documents the bodies that its
dependencies read.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

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
from .room import TEXT_BYTES, bytes_of_json, hold_of

THREAD_BYTES: Final = 1 << 18
"""Bodies longer than this are decoded in a worker thread."""

SMALL_BODY: Final = 1 << 20
"""The maximum body of an operation that reads no pages; other routes set their own."""

UNCOUNTED_BYTES: Final = 1 << 16
"""What it takes to decode a body is estimated where the body is longer: others take little."""

ROOM_PIECE: Final = 1 << 18
"""The room that a chunked body gets at a time."""

GFNS_WEIGHT: Final = 7
BITMAP_WEIGHT: Final = 4
"""The bytes that octets take with the work on them, for each of their own (measured, from above)."""

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


@dataclass(frozen=True, slots=True)
class Bound:
    """The maximum length of a body: a setting, or less where the operation could not need more."""

    setting: Literal["max_body_bytes", "max_batch_bytes"] = "max_body_bytes"
    max_bytes: int | None = None

    def limit(self, request: Request) -> int:
        """Return the maximum for a request."""
        configured: int = getattr(context_of(request), self.setting)
        return configured if self.max_bytes is None else min(configured, self.max_bytes)

    def refusal(self, request: Request) -> Refusal:
        """Return the refusal of a longer body, which names the limit."""
        limit = self.limit(request)
        name = "" if limit == self.max_bytes else f", HACDBS_{self.setting.upper()}"
        error = error_at("body", "", "the body is too long", bound=limit)
        return Refusal(BODY_TOO_LARGE, f"the body must have at most {limit} bytes{name}", (error,))


ANY_BODY: Final = Bound()


def _length_of(request: Request, bound: Bound) -> int | None:
    """Return the Content-Length, if any; refuse one beyond the bound."""
    given = request.headers.get("content-length", "")
    if not (given.isdecimal() and len(given) < 20):
        return None
    length = int(given)
    if length > bound.limit(request):
        raise bound.refusal(request)
    return length


async def read_body(request: Request, bound: Bound = ANY_BODY) -> bytes:
    """Read the whole body, up to the bound, once there is room for it.

    The bytes of a chunked body are counted, and get their room, on arrival.
    """
    limit = bound.limit(request)
    room = _length_of(request, bound) or 0
    hold = hold_of(request)
    if room > hold.held_bytes:  # a body that has been read for its key holds its room already
        await hold.take(TEXT_BYTES * room)
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise bound.refusal(request)
        if size > room:
            room = size + ROOM_PIECE
            await hold.take(max(TEXT_BYTES * room, hold.held_bytes))
        chunks.append(chunk)
    if size > THREAD_BYTES:  # a copy of 64 MiB takes longer than others may wait
        return await asyncio.to_thread(b"".join, chunks)
    return b"".join(chunks)


async def read_octets(request: Request, weight: int) -> bytes | memoryview:
    """Read a whole body of octets, once there is room for `weight` times as many bytes.

    If its length is known, each chunk is copied to its place on arrival: no join, and no thread for it.
    """
    length = _length_of(request, ANY_BODY)
    hold = hold_of(request)
    if length is None or length <= THREAD_BYTES:
        octets = await read_body(request)
        await hold.take(weight * len(octets))
        return octets
    await hold.take(weight * length)
    room = np.empty(length, np.uint8).data  # takes no memory before it is written
    size = 0
    async for chunk in request.stream():
        if size + len(chunk) > length:
            raise ANY_BODY.refusal(request)
        room[size : size + len(chunk)] = chunk
        size += len(chunk)
    return room[:size].toreadonly()


async def decode_within(request: Request, function: Callable[[bytes], T], body: bytes) -> T:
    """Decode a body once there is room for what that takes; a short one costs little."""
    if len(body) > UNCOUNTED_BYTES:
        await hold_of(request).take(await decode(bytes_of_json, body))
    return await decode(function, body)


async def decode(function: Callable[..., T], body: bytes) -> T:
    """Decode a body here if it is short, else in a worker thread."""
    if len(body) <= THREAD_BYTES:
        return function(body)
    return await asyncio.to_thread(function, body)


@dataclass(frozen=True, slots=True, eq=False)
class JsonBody:
    """A JSON body, which `read` reads as a dependency of a route.

    `parse` reads it in place of the `reader`, which has its schema. Where the body is not required, fields have their defaults.
    """

    reader: Reader[Any]
    bound: Bound = ANY_BODY
    required: bool = True
    parse: Callable[[bytes], Any] | None = None

    async def read(self, request: Request) -> Any:  # noqa: ANN401 - as the route annotates it
        """Read the body of a request."""
        if self.required:
            media_type_of(request, JSON_MEDIA_TYPE)
        body = await read_body(request, self.bound)
        if not self.required:
            if not body and "content-type" not in request.headers:
                return self.reader(b"{}")
            media_type_of(request, JSON_MEDIA_TYPE)
        return await decode_within(request, self.parse or self.reader, body)

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
            text = await read_body(request)
            body = await decode_within(request, self.reader, text)
            # The whole action, where the query has none of its fields
            return body["pages"] if isinstance(body, dict) else body.pages
        weight = GFNS_WEIGHT if self.kind is Gfns else BITMAP_WEIGHT
        words = words_from_octets(await read_octets(request, weight), self.kind.__name__.lower())
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
    setting: Literal["max_body_bytes", "max_batch_bytes"] = "max_body_bytes",
) -> Any:  # noqa: ANN401 - as `Depends`
    """Return the dependency that reads a JSON body: a class of the model, `without` a field.

    It may have `max_bytes`, or as many as a setting allows, whichever is less.
    """
    reader = body_class(kind, without=frozenset({without})) if without else reader_of(kind)
    return Depends(JsonBody(reader, Bound(setting, max_bytes), required, parse).read)


def pages_body(
    action: type, kind: type[Bitmap | Gfns], text: str, without: tuple[str, ...] = ()
) -> Any:  # noqa: ANN401 - as `Depends`
    """Return the dependency that reads the pages of an action; the query has its other fields."""
    reader = body_class(action, without=frozenset(without))
    return Depends(PagesBody(reader, kind=kind, text=text).read)
