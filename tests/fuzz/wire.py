"""HTTP/1.1 as bytes: requests written by hand, answers read by their rules, nothing mended."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
PATIENCE_SECONDS: Final = 30.0
"""How long an answer may take before the server is said to hang."""

_CHUNK: Final = 1 << 16


class NoAnswerError(Exception):
    """The connection ended before an answer was whole."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, its header names in lowercase."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A request before it is written."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

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


class Connection:
    """A connection that is kept, and opened anew once the server has closed it."""

    def __init__(self, port: int, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._address = (HOST, port)
        self._patience_seconds = patience_seconds
        self._socket: socket.socket | None = None
        self._left = b""

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
        """Value of the socket, connected."""
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

    def connect(self) -> None:
        """Connect, if there is no connection yet."""
        assert self.socket.fileno() >= 0

    def send(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def read(self, method: str = "GET") -> Answer:
        """Read one answer; those of 1xx go before it.

        Raises:
            NoAnswerError: the server closed the connection first.
            TimeoutError: it did not answer in time.
        """
        head, rest = self._read_until(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status_text, _ = first.split(" ", 2)
        assert version == "HTTP/1.1", first
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        self._left = rest
        status = int(status_text)
        if status < 200:
            return self.read(method)
        has_none = method == "HEAD" or status == 204
        body = b"" if has_none else self._read_exactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            left = self._left
            self.close()
            self._left = left
        return Answer(status, headers, body)

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
