"""Reading request bodies: media type, size, JSON, schema, in this order.

Bodies are read raw and validated by the schema in one pass (jiter inside pydantic): nothing is decoded
twice, and malformed JSON is distinguished from JSON that the schema refuses.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

import numpy as np
from fastapi import Depends
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from hacdbs_sim.sim.actions import Bitmap, FaultType, Gfns, PageRanges, PageSet

from .chunked_json import bitmap_of, gfns_of, ranges_of
from .codec import words_from_octets
from .context import context_of
from .problems import (
    BODY_TOO_LARGE,
    MALFORMED_BODY,
    UNSUPPORTED_MEDIA_TYPE,
    Refusal,
    error_at,
)
from .responses import JSON_MEDIA_TYPE, OCTETS_MEDIA_TYPE
from .schemas.accesses import PagesIn
from .schemas.base import Request as Schema
from .schemas.dirty_log import ClearIn
from .schemas.faults import FaultIn
from .schemas.workloads import KINDS, UniformIn, WorkloadIn
from .validation import body_errors, invalid_request

THREAD_BYTES: Final = 1 << 18
"""Bodies longer than this are decoded in a worker thread."""

UNCOUNTED_BYTES: Final = 1 << 16
"""Bodies longer than this are refused unread where they have too many fields."""

BATCH_OPS: Final = (
    "guest_write",
    "guest_read",
    "host_write",
    "host_unmap",
    "get_dirty_log",
    "clear_dirty_log",
    "set_memslot",
    "delete_memslot",
    "set_cpu",
    "add_fault",
    "delete_fault",
    "add_workload",
    "delete_workload",
    "clock_advance",
    "guest_run",
)
_TAGS: Final = frozenset((*BATCH_OPS, *FaultType, *KINDS))
"""Tags of the unions in bodies; no field is named like one."""

_FAULT: Final[TypeAdapter[FaultIn]] = TypeAdapter(FaultIn)
_WORKLOAD: Final[TypeAdapter[WorkloadIn]] = TypeAdapter(WorkloadIn)

M = TypeVar("M", bound=Schema)
T = TypeVar("T")


def media_type_of(request: Request, *accepted: str) -> str:
    """Return the media type of the body, which must be one that the operation reads."""
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
    """Return the limit of a body, and its Content-Length, None without one."""
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
    """Read the whole body, up to the limit; a body in chunks is counted as it comes."""
    limit, _ = _bounds(request, max_bytes)
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    if size > THREAD_BYTES:  # a copy of 64 MiB takes longer than other requests may wait
        return await asyncio.to_thread(b"".join, chunks)
    return b"".join(chunks)


async def read_octets(request: Request) -> bytes | memoryview:
    """Read a whole body of octets; with a Content-Length each chunk is copied to its place at once.

    Joined at the end, in a thread, a body of 4 MiB takes half as long again (`http-bitmap-in`).
    """
    _, length = _bounds(request)
    if length is None or length <= THREAD_BYTES:
        return await read_body(request)
    octets = np.empty(length, np.uint8).data  # pages are allocated as they are written
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


def validate(model: type[M], body: bytes) -> M:
    """Validate a JSON body."""
    return _validated(model.model_validate_json, body, model.max_colons)


def _validated(schema: Callable[[bytes], T], body: bytes, max_colons: int) -> T:
    # A short body cannot hold many unknown fields, so only a long one is counted.
    if len(body) > UNCOUNTED_BYTES and (colons := body.count(b":")) > max_colons:
        detail = "the body has more fields than the schema could take"
        raise invalid_request((error_at("body", "", detail, bound=max_colons, value=colons),))
    try:
        return schema(body)
    except ValidationError as refused:
        # No schema lets NaN through, but pydantic reads it: report it as malformed JSON
        try:
            from_json(body, allow_inf_nan=False)
        except ValueError as malformed:
            raise Refusal(MALFORMED_BODY, f"the body is not JSON: {malformed}") from None
        raise invalid_request(body_errors(refused, _TAGS)) from None


def validate_fault(body: bytes) -> FaultIn:
    """Validate the JSON body of a fault."""
    return _validated(_FAULT.validate_json, body, Schema.max_colons)


def validate_workload(body: bytes) -> WorkloadIn:
    """Validate the JSON body of a workload."""
    return _validated(_WORKLOAD.validate_json, body, UniformIn.max_colons)


async def decode(function: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 - as the function's
    """Decode a body (the last argument) here if it is short, else in a worker thread."""
    if len(args[-1]) <= THREAD_BYTES:
        return function(*args)
    return await asyncio.to_thread(function, *args)


def json_body(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """Make the dependency that reads a JSON body."""

    async def read(request: Request) -> M:
        media_type_of(request, JSON_MEDIA_TYPE)
        return await decode(validate, model, await read_body(request, model.max_bytes))

    return read


async def read_fault(request: Request) -> FaultIn:
    """Read a fault, whichever its type."""
    media_type_of(request, JSON_MEDIA_TYPE)
    return await decode(validate_fault, await read_body(request, Schema.max_bytes))


async def read_workload(request: Request) -> WorkloadIn:
    """Read a workload, whichever its kind."""
    media_type_of(request, JSON_MEDIA_TYPE)
    return await decode(validate_workload, await read_body(request, UniformIn.max_bytes))


def optional_json_body(model: type[M]) -> Callable[[Request], Awaitable[M]]:
    """Make the dependency that reads a JSON body, or none: then every field has its default."""

    async def read(request: Request) -> M:
        body = await read_body(request, model.max_bytes)
        if not body and "content-type" not in request.headers:
            return model()
        media_type_of(request, JSON_MEDIA_TYPE)
        return await decode(validate, model, body)

    return read


def _pages_from_json(body: bytes) -> PageSet:
    pages: PageSet | None = None
    if len(body) > THREAD_BYTES:
        pages = gfns_of(body) or ranges_of(body, "gfn_ranges")
    return pages or validate(PagesIn, body).to_domain()


async def read_pages(request: Request) -> PageSet:
    """Read the pages of a batch of accesses."""
    if media_type_of(request, JSON_MEDIA_TYPE, OCTETS_MEDIA_TYPE) == OCTETS_MEDIA_TYPE:
        return Gfns(words_from_octets(await read_octets(request), "gfns"))
    return await decode(_pages_from_json, await read_body(request))


def _clear_from_json(body: bytes) -> Bitmap | PageRanges:
    pages: Bitmap | PageRanges | None = None
    if len(body) > THREAD_BYTES:
        pages = ranges_of(body, "page_ranges") or bitmap_of(body)
    return pages or validate(ClearIn, body).to_domain()


async def read_clear_pages(request: Request) -> Bitmap | PageRanges:
    """Read the pages of a clear."""
    if media_type_of(request, JSON_MEDIA_TYPE, OCTETS_MEDIA_TYPE) == OCTETS_MEDIA_TYPE:
        return Bitmap(words_from_octets(await read_octets(request), "bitmap"))
    return await decode(_clear_from_json, await read_body(request))


PagesBody = Annotated[PageSet, Depends(read_pages)]
ClearBody = Annotated[Bitmap | PageRanges, Depends(read_clear_pages)]
