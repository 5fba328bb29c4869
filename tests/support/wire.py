"""HTTP/1.1 as bytes: requests written by hand, answers read by their rules, nothing mended."""

import asyncio
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

HOST: Final = "127.0.0.1"
JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"

HANG_SECONDS: Final = 600.0
"""An answer that takes longer does not come; no promise of speed, so it fits a busy machine."""

_CHUNK: Final = 1 << 16
_HEAD_END: Final = b"\r\n\r\n"


class NoAnswerError(Exception):
    """The connection ended before an answer was whole."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, its header names in lowercase."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def code(self) -> str:
        """The problem's code."""
        code: str = self.json()["code"]
        return code


@dataclass(frozen=True, slots=True)
class Request:
    """A request before it is written."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    @classmethod
    def of(
        cls,
        method: str,
        target: str,
        body: object = None,
        *,
        octets: bytes | None = None,
        accept: str = JSON,
    ) -> Self:
        """Make a request of JSON (as values, or written already), of octets, or of nothing."""
        headers = {"Accept": accept}
        if octets is not None:
            return cls(method, target, {**headers, "Content-Type": OCTETS}, octets)
        if body is None:
            return cls(method, target, headers)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return cls(method, target, {**headers, "Content-Type": JSON}, content)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def encoded(self) -> bytes:
        """Write it as it should be."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {HOST}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body is not None:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (self.body or b"")


def read_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Read an answer's status and headers."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, status, _ = first.split(" ", 2)
    assert version == "HTTP/1.1", first
    pairs = (line.partition(":") for line in lines)
    return int(status), {name.lower(): value.strip() for name, _, value in pairs}


def body_length(method: str, status: int, headers: Mapping[str, str]) -> int:
    return 0 if method == "HEAD" or status == 204 else int(headers["content-length"])


class Connection:
    """A connection that is kept, and opened anew once the server has closed it."""

    def __init__(self, port: int, patience_seconds: float = HANG_SECONDS) -> None:
        self._address = (HOST, port)
        self._patience_seconds = patience_seconds
        self._socket: socket.socket | None = None
        self._left = b""
        self._is_cut = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._left = b""

    @property
    def socket(self) -> socket.socket:
        """The socket, connected."""
        if self._is_cut:
            raise ConnectionError("the connection was cut")
        if self._socket is None:
            self._socket = socket.create_connection(self._address, self._patience_seconds)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def exchange(self, request: Request) -> Answer:
        """Send a request and read its answer; once more if an idle connection was closed."""
        was_open = self._socket is not None
        try:
            return self._exchange(request)
        except (NoAnswerError, ConnectionError):
            self.close()
            if not was_open:
                raise
        return self._exchange(request)

    def _exchange(self, request: Request) -> Answer:
        self.send(request.encoded())
        return self.read(request.method)

    def cut(self) -> None:
        """End the connection for good, whatever another thread waits for on it."""
        self._is_cut = True
        if (connected := self._socket) is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def connect(self) -> None:
        """Connect, if there is no connection yet."""
        assert self.socket.fileno() >= 0

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def read(self, method: str = "GET") -> Answer:
        """Read one answer; those of 1xx go before it.

        Raises:
            NoAnswerError: the server closed the connection first.
            TimeoutError: it hangs.
        """
        head, self._left = self._read_until(_HEAD_END)
        status, headers = read_head(head)
        if status < 200:
            return self.read(method)
        content = self._read_exactly(body_length(method, status, headers))
        if headers.get("connection") == "close":
            left = self._left
            self.close()
            self._left = left
        return Answer(status, headers, content)

    def _read_until(self, mark: bytes) -> tuple[bytes, bytes]:
        while mark not in self._left:
            self._left += self._receive()
        head, _, rest = self._left.partition(mark)
        return head, rest

    def _read_exactly(self, length: int) -> bytes:
        parts = [self._left]
        size = len(self._left)
        while size < length:
            parts.append(self._receive())
            size += len(parts[-1])
        whole = b"".join(parts)
        self._left = whole[length:]
        return whole[:length]

    def _receive(self) -> bytes:
        if not (received := self.socket.recv(_CHUNK)):
            raise NoAnswerError("the server closed the connection")
        return received


class Calls:
    """Calls on one connection; not for two threads at a time."""

    def __init__(self, url: str) -> None:
        self._connection = Connection(port_of(url))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def call(self, method: str, path: str, body: object = None, **rest: Any) -> Answer:
        """Send JSON, or octets, or nothing."""
        return self._connection.exchange(Request.of(method, path, body, **rest))

    def made(self, method: str, path: str, body: object = None, **rest: Any) -> Any:
        """Make a call that must succeed; return its JSON."""
        answer = self.call(method, path, body, **rest)
        assert answer.status < 300, (method, path, answer.status, answer.content[:500])
        return answer.json() if answer.content else None


class AsyncCalls:
    """Calls on one connection of asyncio streams, one at a time: many clients in one process."""

    def __init__(self, url: str) -> None:
        self._port = port_of(url)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        await self._connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._close()

    async def _connect(self) -> None:
        self._streams = await asyncio.open_connection(HOST, self._port, limit=1 << 24)

    def _close(self) -> None:
        assert self._streams is not None
        self._streams[1].close()

    async def call(
        self, method: str, path: str, body: object = None, *, accept: str = JSON
    ) -> Answer:
        """Send JSON or nothing; a call that hangs is an error."""
        request = Request.of(method, path, body, accept=accept)
        async with asyncio.timeout(HANG_SECONDS):
            try:
                return await self._exchange(request)
            except (asyncio.IncompleteReadError, ConnectionError):
                # An idle connection was closed: here nothing else ends one
                self._close()
                await self._connect()
                return await self._exchange(request)

    async def made(self, method: str, path: str, body: object = None) -> Answer:
        """Make a call that must succeed."""
        answer = await self.call(method, path, body)
        assert answer.status < 300, (method, path, answer.status, answer.content[:500])
        return answer

    async def get(self, path: str) -> Answer:
        """Make a GET that must succeed."""
        return await self.made("GET", path)

    async def _exchange(self, request: Request) -> Answer:
        assert self._streams is not None
        reader, writer = self._streams
        writer.write(request.encoded())
        await writer.drain()
        head = await reader.readuntil(_HEAD_END)
        status, headers = read_head(head.removesuffix(_HEAD_END))
        length = body_length(request.method, status, headers)
        return Answer(status, headers, await reader.readexactly(length))


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None, url
    return port
