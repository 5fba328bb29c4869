"""HTTP over one kept connection of asyncio streams: many clients in one process, little work each."""

import asyncio
import json
from typing import Final, Self
from urllib.parse import urlsplit

from tests.bounds.calls import JSON, TIMEOUT_SECONDS, Answer

_LENGTH: Final = b"content-length: "


class AsyncCalls:
    """One connection; one call at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        self._streams = await asyncio.open_connection(self._host, self._port, limit=1 << 24)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._streams is not None
        self._streams[1].close()

    async def call(
        self, method: str, path: str, body: object = None, *, accept: str = JSON
    ) -> Answer:
        """Send JSON or nothing; a call that hangs is an error."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self._exchange(method, path, body, accept)

    async def made(self, method: str, path: str, body: object = None) -> Answer:
        """Call what must succeed."""
        answer = await self.call(method, path, body)
        assert answer.status < 300, (method, path, answer.status, answer.content[:500])
        return answer

    async def _exchange(self, method: str, path: str, body: object, accept: str) -> Answer:
        assert self._streams is not None
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n"
        content = b""
        if body is not None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            head += f"Content-Type: {JSON}\r\nContent-Length: {len(content)}\r\n"
        writer.write(head.encode() + b"\r\n" + content)
        await writer.drain()
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = 0
        if (at := answer.find(_LENGTH)) >= 0:
            length = int(answer[at + len(_LENGTH) : answer.index(b"\r", at)])
        return Answer(int(answer[9:12]), await reader.readexactly(length))
