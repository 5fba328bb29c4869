"""HTTP/1.1 on raw sockets: the client must never be what is measured."""

import json
import select
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"

RECEIVE_BYTES: Final = 1 << 20


def request(
    method: str,
    path: str,
    body: bytes | None = None,
    media_type: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Make the bytes of a request."""
    fields = {"Host": "localhost", **(headers or {})}
    if body is not None:
        fields |= {"Content-Type": media_type, "Content-Length": str(len(body))}
    elif method == "POST":
        fields |= {"Content-Length": "0"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("ascii") + (body or b"")


def as_json(content: object) -> bytes:
    """Make a JSON body."""
    return json.dumps(content, separators=(",", ":")).encode("ascii")


class Connection:
    """A kept connection, one request at a time."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(RECEIVE_BYTES)
        self._view = memoryview(self._buffer)
        self._head = b""
        self._left: int | None = None
        self._body: list[bytes] = []

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the socket's number."""
        return self._socket.fileno()

    def send(self, raw: bytes) -> None:
        """Send a request."""
        self._head, self._left, self._body = b"", None, []
        self._socket.sendall(raw)

    def receive(self) -> bool:
        """Receive once; return whether the answer is whole."""
        count = self._socket.recv_into(self._buffer)
        assert count, "the service hung up"
        content = self._view[:count]
        if self._left is None:
            self._head += bytes(content)
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return False
            content = memoryview(self._head)[end + 4 :]
            self._head = self._head[:end]
            self._left = self._length()
        if content:
            self._body.append(bytes(content))
            self._left -= len(content)
        return self._left == 0

    def _length(self) -> int:
        assert self._head[9:10] == b"2", self._head
        lower = self._head.lower()
        start = lower.find(b"\r\ncontent-length:")
        if start < 0:
            assert self._head[9:12] == b"204", self._head
            return 0
        return int(lower[start + 17 :].partition(b"\r\n")[0])

    def exchange(self, raw: bytes) -> bytes:
        """Send a request and wait for the whole answer; return its body."""
        self.send(raw)
        while not self.receive():
            pass
        return b"".join(self._body)

    def call(self, method: str, path: str, content: object = None) -> Any:  # noqa: ANN401 - JSON
        """Make a call with a JSON body, or none, and read its JSON answer."""
        body = self.exchange(request(method, path, None if content is None else as_json(content)))
        return json.loads(body) if body else None


class Crowd:
    """Several kept connections that take requests off one list, each as soon as it is free."""

    def __init__(self, port: int, count: int) -> None:
        self._connections = [Connection(port) for _ in range(count)]
        self._by_number = {connection.fileno(): connection for connection in self._connections}
        self._poll = select.epoll()
        for number in self._by_number:
            self._poll.register(number, select.EPOLLIN)

    def close(self) -> None:
        """Close all of them."""
        self._poll.close()
        for connection in self._connections:
            connection.close()

    def serve(self, requests: Sequence[bytes]) -> None:
        """Send all requests and wait for all answers."""
        waiting: Iterator[bytes] = iter(requests)
        for connection, raw in zip(self._connections, waiting, strict=False):
            connection.send(raw)
        left = len(requests)
        while left:
            for number, _ in self._poll.poll():
                connection = self._by_number[number]
                if not connection.receive():
                    continue
                left -= 1
                raw = next(waiting, b"")
                if raw:
                    connection.send(raw)
