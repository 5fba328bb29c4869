"""Reading request bodies: media type, size, JSON, schema, in this order.

Bodies are read raw and validated by the wire in one pass, so text that is not JSON is distinguished
from JSON that the schema refuses, and nothing is decoded twice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

import numpy as np
from fastapi import Depends
from starlette.requests import Request

from hacdbs_sim.model import Bitmap, ClearDirtyLog, Gfns, GuestWrite, PageRanges, PageSet
from hacdbs_sim.wire import Reader, body_class, error_at
from hacdbs_sim.wire.codec import words_from_octets

from .context import context_of
from .problems import BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, Refusal
from .responses import JSON_MEDIA_TYPE, OCTETS_MEDIA_TYPE

THREAD_BYTES: Final = 1 << 18
"""Bodies longer than this are decoded in a worker thread."""

SMALL_BODY: Final = 1 << 20
"""The maximum body of an operation that reads no pages; other routes set their own."""

FRAMES_BODY: Final = body_class(GuestWrite, without=frozenset({"vcpu"}))
LOG_PAGES_BODY: Final = body_class(
    ClearDirtyLog, without=frozenset({"slot", "first_page", "num_pages", "cpu", "trace"})
)

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
    return Refusal(
        BODY_TOO_LARGE,
        f"the body must have at most {limit} bytes",
        (error_at("body", "", "the body is too long", bound=limit),),
    )


async def decode(function: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 - as the function's
    """Decode a body (the last argument) here if it is short, else in a worker thread."""
    if len(args[-1]) <= THREAD_BYTES:
        return function(*args)
    return await asyncio.to_thread(function, *args)


def json_body(
    reader: Reader[T], max_bytes: int | None = SMALL_BODY
) -> Callable[[Request], Awaitable[T]]:
    """Return the dependency that reads a JSON body."""

    async def read(request: Request) -> T:
        media_type_of(request, JSON_MEDIA_TYPE)
        return await decode(reader, await read_body(request, max_bytes))

    return read


def optional_json_body(
    reader: Reader[T], max_bytes: int | None = SMALL_BODY
) -> Callable[[Request], Awaitable[T]]:
    """Return the dependency that reads an optional JSON body; without one, fields have their defaults."""

    async def read(request: Request) -> T:
        body = await read_body(request, max_bytes)
        if not body and "content-type" not in request.headers:
            return reader(b"{}")
        media_type_of(request, JSON_MEDIA_TYPE)
        return await decode(reader, body)

    return read


async def read_frames(request: Request) -> PageSet:
    """Read the guest frames of a batch of accesses."""
    if media_type_of(request, JSON_MEDIA_TYPE, OCTETS_MEDIA_TYPE) == OCTETS_MEDIA_TYPE:
        return Gfns(words_from_octets(await read_octets(request), "gfns"))
    body = await decode(FRAMES_BODY, await read_body(request))
    pages: PageSet = body["pages"]
    return pages


async def read_clear_pages(request: Request) -> Bitmap | PageRanges:
    """Read the pages of a clear."""
    if media_type_of(request, JSON_MEDIA_TYPE, OCTETS_MEDIA_TYPE) == OCTETS_MEDIA_TYPE:
        return Bitmap(words_from_octets(await read_octets(request), "bitmap"))
    body = await decode(LOG_PAGES_BODY, await read_body(request))
    pages: Bitmap | PageRanges = body["pages"]
    return pages


FramesBody = Annotated[PageSet, Depends(read_frames)]
LogPagesBody = Annotated[Bitmap | PageRanges, Depends(read_clear_pages)]
