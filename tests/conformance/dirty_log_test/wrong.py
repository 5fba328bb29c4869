"""Services that are wrong on purpose: the real one behind a transport that spoils one thing.

The harness must notice each; a test that none of them fails would prove nothing about the right one.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import httpx
import numpy as np
from typing_extensions import override

from app.main import create_app
from app.settings import LogLevel, Settings

Ask: TypeAlias = Callable[[httpx.Request], "httpx.Request"]
Answer: TypeAlias = Callable[[httpx.Request, bytes], bytes]


def same_request(request: httpx.Request) -> httpx.Request:
    return request


def same_answer(_request: httpx.Request, content: bytes) -> bytes:
    return content


class WrongService(httpx.AsyncBaseTransport):
    """The service, with what it is asked and what it answers gone through two functions."""

    def __init__(self, ask: Ask = same_request, answer: Answer = same_answer) -> None:
        self._inner = httpx.ASGITransport(create_app(Settings(log_level=LogLevel.WARNING)))
        self._ask = ask
        self._answer = answer

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        response = await self._inner.handle_async_request(self._ask(request))
        content = self._answer(request, await response.aread())
        headers = [
            (name, value) for name, value in response.headers.raw if name != b"content-length"
        ]
        return httpx.Response(response.status_code, headers=headers, content=content)


def _is_get(request: httpx.Request) -> bool:
    return request.url.path.endswith("/dirty-log/get")


def _copy(request: httpx.Request, content: bytes) -> httpx.Request:
    headers = [(name, value) for name, value in request.headers.raw if name != b"content-length"]
    return httpx.Request(request.method, request.url, headers=headers, content=content)


def drops_a_bit(request: httpx.Request, content: bytes) -> bytes:
    """Leaves the last dirty page out of what it answers."""
    if not _is_get(request) or not any(content):
        return content
    bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
    bits[np.flatnonzero(bits)[-1]] = 0
    return np.packbits(bits, bitorder="little").tobytes()


def reports_a_bit_too_much(request: httpx.Request, content: bytes) -> bytes:
    """Names one page more than is dirty."""
    if not _is_get(request):
        return content
    bits = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little")
    bits[np.flatnonzero(bits[: len(bits) - 64] == 0)[:1]] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def loses_a_write(request: httpx.Request) -> httpx.Request:
    """Forgets the last page of each batch of guest writes."""
    if not request.url.path.endswith("/guest/write"):
        return request
    return _copy(request, request.content[:-8])


def never_clears(request: httpx.Request) -> httpx.Request:
    """Takes a clear for one of no page, a get for a peek."""
    if request.url.path.endswith("/dirty-log/clear"):
        return _copy(request, bytes(len(request.content)))
    if _is_get(request):
        url = request.url.copy_with(path=request.url.path.removesuffix("/get"))
        return httpx.Request("GET", url, headers=request.headers)
    return request


def shifts_the_pages(request: httpx.Request, content: bytes) -> bytes:
    """Answers the bitmap one page further."""
    if not _is_get(request):
        return content
    return (
        int.from_bytes(content[:-8], "little") << 1 & (1 << 8 * len(content) - 64) - 1
    ).to_bytes(len(content) - 8, "little") + content[-8:]


WRONG: Final[dict[str, tuple[Ask, Answer]]] = {
    "drops a bit": (same_request, drops_a_bit),
    "reports a bit too much": (same_request, reports_a_bit_too_much),
    "loses a write": (loses_a_write, same_answer),
    "never clears": (never_clears, same_answer),
    "shifts the pages": (same_request, shifts_the_pages),
}
