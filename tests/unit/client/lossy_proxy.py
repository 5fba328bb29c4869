"""A real proxy in front of a service that loses answers: the request gets there, the answer not."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from urllib.parse import urlsplit

from typing_extensions import override

from tests.support.wire import HANG_SECONDS


class LossyProxy(ThreadingHTTPServer):
    """Passes calls on; the next `losses` answers to a method are lost, the connection closed."""

    daemon_threads = False

    def __init__(self, service_url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = urlsplit(service_url).netloc
        self.passed: list[tuple[str, str | None]] = []
        self._losses: dict[str, int] = {}
        self._lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def lose(self, method: str, losses: int) -> None:
        with self._lock:
            self._losses[method] = losses

    def loses(self, method: str, key: str | None) -> bool:
        """Record a request that was served; return whether its response is to be lost."""
        with self._lock:
            self.passed.append((method, key))
            left = self._losses.get(method, 0)
            self._losses[method] = max(left - 1, 0)
            return left > 0


class _Handler(BaseHTTPRequestHandler):
    server: LossyProxy
    timeout = HANG_SECONDS

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        behind = HTTPConnection(self.server.service, timeout=HANG_SECONDS)
        headers = {**self.headers, "Host": self.server.service}
        behind.request(self.command, self.path, body, headers)
        answer = behind.getresponse()
        content = answer.read()
        behind.close()
        if self.server.loses(self.command, self.headers.get("Idempotency-Key")):
            self.connection.shutdown(socket.SHUT_RDWR)
            return
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
def lossy_proxy(service_url: str) -> Generator[LossyProxy]:
    with LossyProxy(service_url) as proxy:
        thread = Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
