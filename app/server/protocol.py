"""HTTP/1.1 on one connection, with bounds on what a client may make the server hold and wait for.

What uvicorn's settings leave open, and this adds to its protocol over httptools:

* The head of a request: httptools has no bound, so one head without end would take all memory.
  uvicorn's protocol over h11 bounds what is incomplete at a time, and takes 70 us more a request.
* Idle connections: `timeout_keep_alive` runs between an answer and the next request only, so
  connections idle in a head, a body or an answer would take all file descriptors.
* Pipelined requests: a refusal must not overtake the answers before it, and each request must learn
  that its client has disconnected.
* An offer to upgrade, which uvicorn answers by closing the connection.
* The host of an absolute request target, which uvicorn drops: it must be that of the Host header.
"""

import asyncio
import re
from typing import ClassVar, Final

import httptools
from typing_extensions import override
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES: Final = 64 << 10
"""Request line and headers."""

MIN_BYTES: Final = 1 << 10
"""The bytes that must be transferred between two checks while the server waits for the client."""

LEAST_BYTES: Final = 1280 << 10
"""The bytes of a body or an answer that must be transferred between two checks: 128 KiB a second.

A body has its room from its first byte on, an answer until its last, so a slow client keeps others out.
What was faster counts for `max_idle_checks` checks, as the time of grace does.
"""

_HEADS: Final = {
    400: b"HTTP/1.1 400 Bad Request\r\n",
    408: b"HTTP/1.1 408 Request Timeout\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
}
_TOO_LARGE: Final = "the head of a request may have 64 KiB"
_TOO_SLOW: Final = "the body of a request must come at 128 KiB a second"
_AUTHORITY_END: Final = re.compile(rb"[/?#]")
_UPGRADE_HEADERS: Final = frozenset({b"connection", b"upgrade", b"http2-settings"})


_GUARDS: Final = (
    b"content-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"
    b"x-content-type-options: nosniff\r\ncache-control: no-store\r\n"
)


def _nothing() -> None:
    pass


class HeadTooLargeError(Exception):
    """The head of a request is longer than the server accepts."""


class ForeignTargetError(Exception):
    """A request target names another host than the Host header."""


class BoundedHttp(HttpToolsProtocol):
    """One connection of an untrusted client."""

    check_seconds: ClassVar[float] = 10.0
    """The interval between two checks of a connection."""

    max_idle_checks: ClassVar[int] = 3
    """The consecutive checks with an incomplete head, or without transfer, that close a connection."""

    _running: RequestResponseCycle | None = None
    _timer: asyncio.TimerHandle
    _is_in_head = True
    _head_read_bytes = 0
    _head_parsed_bytes = 0
    _moved_bytes = 0
    _unsent_bytes = 0
    _idle_checks = 0
    _credit_bytes = 0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.check_seconds, self._check)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Mark every request of the connection as disconnected; uvicorn marks the last only."""
        self._timer.cancel()
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)
        while self.pipeline:  # they never run, and what they refer to refers to them
            cycle, _ = self.pipeline.popleft()
            cycle.on_response = _nothing

    @override
    def pause_writing(self) -> None:
        """Make the application wait until the client has read a good part of its response."""
        self._unsent_bytes = self.transport.get_write_buffer_size()
        super().pause_writing()

    @override
    def resume_writing(self) -> None:
        """Continue a response of which the client has read a good part."""
        self._count_sent()
        super().resume_writing()

    def _count_sent(self) -> None:
        unsent_bytes = self.transport.get_write_buffer_size()
        self._moved_bytes += max(self._unsent_bytes - unsent_bytes, 0)
        self._unsent_bytes = unsent_bytes

    @override
    def data_received(self, data: bytes) -> None:
        """Feed the parser, which reports a header only when it is complete."""
        was_in_head = self._is_in_head
        self._moved_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError as error:
            # What a method of ours raises is the context of the parser's own exception
            is_foreign = isinstance(error.__context__, ForeignTargetError)
            self.send_400_response(f"malformed HTTP: {error.__context__ if is_foreign else error}")
        if was_in_head and self._is_in_head and not self.transport.is_closing():
            self._head_read_bytes += len(data)
            if self._head_read_bytes > MAX_HEAD_BYTES:
                self._refuse(431, _TOO_LARGE)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its upgrade offer: what follows such a head is its body.

        Some clients offer HTTP/2 with the first request that they make.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("the service does not proxy")
            return
        version = self.parser.get_http_version().encode("ascii")
        lines = [
            name + b": " + value for name, value in self.headers if name not in _UPGRADE_HEADERS
        ]
        tokens = b",".join(value for name, value in self.headers if name == b"connection")
        if b"close" in tokens.lower():
            lines.append(b"connection: close")
        first = method + b" " + self.url + b" HTTP/" + version
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(b"\r\n".join([first, *lines, b"", rest]))

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._head_read_bytes = self._head_parsed_bytes = 0
        self._idle_checks = 0

    @override
    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def _count_head(self, size: int) -> None:
        self._head_parsed_bytes += size
        if self._head_parsed_bytes > MAX_HEAD_BYTES:
            raise HeadTooLargeError  # the parser turns it into an HttpParserError

    @override
    def on_headers_complete(self) -> None:
        """End the head; one that offers an upgrade is parsed again."""
        if self.parser.should_upgrade():
            return
        if not self.url.startswith((b"/", b"*")):
            self._check_target()
        super().on_headers_complete()
        self._is_in_head = False
        self._idle_checks = 0
        self._credit_bytes = LEAST_BYTES * self.max_idle_checks

    def _check_target(self) -> None:
        """Check an absolute target, which stands above the Host header (RFC 9112, 3.2.2)."""
        scheme, _, rest = self.url.partition(b"://")
        authority = _AUTHORITY_END.split(rest, 1)[0]
        hosts = [value.lower() for name, value in self.headers if name == b"host"]
        if scheme.lower() not in {b"http", b"https"} or hosts != [authority.lower()]:
            raise ForeignTargetError("the request target must name the host that Host names")

    @override
    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    @override
    def send_400_response(self, msg: str) -> None:
        """Refuse malformed HTTP, or a head that is too long."""
        if self._head_parsed_bytes > MAX_HEAD_BYTES:
            self._refuse(431, _TOO_LARGE)
        else:
            self._refuse(400, msg)

    def _refuse(self, status: int, detail: str) -> None:
        """Refuse the last request, once the earlier (pipelined) ones have their responses.

        A client would take a refusal that overtook an answer for that answer.
        """
        if self._is_working() and self.cycle.more_body and self.pipeline:
            self.pipeline.popleft()  # the request whose body is refused
            running = self._running
            assert running is not None, "a request is pipelined behind the one that runs"
            self.cycle = self.pipeline[0][0] if self.pipeline else running
        if self._is_working() and not self.cycle.more_body:
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        text = detail.encode("ascii", "replace")
        headers = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n" % len(text)
        headers += _GUARDS
        self.transport.write(_HEADS[status] + headers + b"connection: close\r\n\r\n" + text)
        self.transport.close()

    def _is_working(self) -> bool:
        # None before the first request, whatever uvicorn's annotation says
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _is_waiting(self) -> bool:
        """Return whether it is the client's turn, and no timer of uvicorn's runs."""
        if self.flow.write_paused or self._unsent_bytes:
            return True
        if self._is_working():
            return self.cycle.more_body and not self.flow.read_paused
        return self.timeout_keep_alive_task is None

    def _check(self) -> None:
        """Close the connection if its client has been idle for too long."""
        if self.transport.is_closing():
            self.transport.abort()  # the client has not read the rest for a whole interval
            return
        self._count_sent()
        moved_bytes, self._moved_bytes = self._moved_bytes, 0
        is_waiting = self._is_waiting()
        is_still = self._is_in_head or moved_bytes < MIN_BYTES
        self._idle_checks = self._idle_checks + 1 if is_still and is_waiting else 0
        if is_waiting and not self._is_in_head:
            credit_bytes = self._credit_bytes + moved_bytes - LEAST_BYTES
            self._credit_bytes = min(credit_bytes, LEAST_BYTES * self.max_idle_checks)
        if self._idle_checks >= self.max_idle_checks:
            if self._head_read_bytes and not self._is_working():
                self._refuse(408, "the head of a request took too long")
            else:
                self.transport.abort()
        elif self._credit_bytes < 0:
            if self._is_working() and not self.cycle.response_started:
                self._refuse(408, _TOO_SLOW)
            else:
                self.transport.abort()
        self._timer = self.loop.call_later(self.check_seconds, self._check)
