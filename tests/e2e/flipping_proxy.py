"""A real HTTP proxy in front of the service that flips one bit of one response to a get."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import urlsplit

import numpy as np
from typing_extensions import override

from tests.support.wire import HANG_SECONDS

Aim = Callable[["np.ndarray[tuple[int], np.dtype[np.uint8]]"], int]


class FlippingProxy(ThreadingHTTPServer):
    """A proxy that passes calls on and flips one bit of the response to the `flip_at`-th get.

    Args:
        aim: Returns the bit to flip, of the bits of that response.
    """

    daemon_threads = False

    def __init__(self, service_url: str, flip_at: int, aim: Aim) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = urlsplit(service_url).netloc
        self.flip_at = flip_at
        self.aim = aim
        self.gets = 0
        self.flipped: int | None = None
        self.lock = Lock()

    def pass_on(self, path: str, content: bytes) -> bytes:
        """Return the response body that the client receives."""
        if not urlsplit(path).path.endswith("/dirty-log/get"):
            return content
        with self.lock:
            self.gets += 1
            if self.gets != self.flip_at:
                return content
            bits = np.unpackbits(np.frombuffer(content, dtype=np.uint8), bitorder="little")
            self.flipped = self.aim(bits)
            bits[self.flipped] ^= 1
            return np.packbits(bits, bitorder="little").tobytes()


class _Handler(BaseHTTPRequestHandler):
    server: FlippingProxy
    protocol_version = "HTTP/1.1"
    timeout = HANG_SECONDS
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer in one piece

    @override
    def setup(self) -> None:
        super().setup()
        self.connection_on = HTTPConnection(self.server.service, timeout=HANG_SECONDS)

    @override
    def finish(self) -> None:
        self.connection_on.close()
        super().finish()

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.connection_on.request(
            self.command, self.path, body, {**self.headers, "Host": self.server.service}
        )
        answer = self.connection_on.getresponse()
        content = self.server.pass_on(self.path, answer.read())
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815 - http.server's names

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@contextmanager
def flipping_proxy(service_url: str, *, flip_at: int, aim: Aim) -> Generator[FlippingProxy]:
    with FlippingProxy(service_url, flip_at, aim) as proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
