"""How long a connection may be idle, in checks that the test makes itself: no clock is involved.

The service is a real one in this process, for only its checks differ from those of `serve`.
"""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import ClassVar, Final

import pytest
from typing_extensions import override

from app.main import create_app
from app.server.protocol import LEAST_BYTES, MIN_BYTES, BoundedHttp
from app.server.runner import Server, listen
from app.settings import LogLevel, Settings
from tests.fuzz.attacks import GET, HOST, POST
from tests.support.wire import HANG_SECONDS, Connection
from tests.support.wire import HOST as ADDRESS

NEVER: Final = 1_000_000
LARGE: Final = b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"


class SteppedHttp(BoundedHttp):
    """A connection that the server checks when the test says so."""

    check_seconds: ClassVar[float] = NEVER
    news: ClassVar = threading.Condition()
    open: ClassVar[dict[int, "SteppedHttp"]] = {}
    """By the client's port."""

    received_bytes = 0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        with self.news:
            self.open[transport.get_extra_info("peername")[1]] = self
            self.news.notify_all()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        with self.news:
            del self.open[self.transport.get_extra_info("peername")[1]]
            self.news.notify_all()

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        with self.news:
            self.received_bytes += len(data)
            self.news.notify_all()

    def check(self) -> None:
        self._timer.cancel()
        self._check()

    @classmethod
    def wait_until(cls, holds: Callable[[], bool]) -> None:
        with cls.news:
            assert cls.news.wait_for(holds, HANG_SECONDS)


class Stepped(Connection):
    """A connection to such a server."""

    @property
    def ours(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    @property
    def theirs(self) -> SteppedHttp:
        """The server's end, once it has accepted."""
        SteppedHttp.wait_until(lambda: self.ours in SteppedHttp.open)
        return SteppedHttp.open[self.ours]

    def send_whole(self, octets: bytes) -> None:
        """Send, and wait until the server has received it."""
        theirs = self.theirs
        whole = theirs.received_bytes + len(octets)
        self.send(octets)
        SteppedHttp.wait_until(lambda: theirs.received_bytes >= whole)

    def check(self, times: int = 1) -> None:
        """Have the server check it, as long as it is open, and wait until it has."""
        theirs = self.theirs
        for _ in range(times):
            checked = threading.Event()

            def step(checked: threading.Event = checked) -> None:
                if self.ours in SteppedHttp.open:
                    theirs.check()
                checked.set()

            theirs.loop.call_soon_threadsafe(step)
            assert checked.wait(HANG_SECONDS)

    def rest(self) -> bytes:
        """Read until the server closes; its reset ends it as well."""
        read = b""
        with suppress(ConnectionError):
            while part := self.socket.recv(1 << 16):
                read += part
        return read


@pytest.fixture(scope="module")
def port() -> Generator[int]:
    app = create_app(Settings(log_level=LogLevel.ERROR))
    server = Server(lambda: app, http=SteppedHttp, keep_alive_seconds=NEVER)
    with listen(ADDRESS, 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]

        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("sent", [b"", POST + b"Content-Length: 9\r\n\r\n{"])
def test_a_connection_that_stands_still_is_closed(port: int, sent: bytes) -> None:
    with Stepped(port) as connection:
        connection.send_whole(sent)
        connection.check()  # what came before it counts as movement

        connection.check(BoundedHttp.max_idle_checks)

        assert connection.rest() == b""


@pytest.mark.parametrize("sent", [b"\r\n", POST])
def test_a_head_that_stands_still_is_refused(port: int, sent: bytes) -> None:
    with Stepped(port) as connection:
        connection.send_whole(sent)

        connection.check(BoundedHttp.max_idle_checks)

        assert connection.rest().startswith(b"HTTP/1.1 408 ")


def test_a_head_that_drips_is_refused_however_steadily(port: int) -> None:
    with Stepped(port) as connection:
        connection.send_whole(b"GET /livez HTTP/1.1\r\nX: ")
        for _ in range(BoundedHttp.max_idle_checks):
            connection.send_whole(b"drip" * MIN_BYTES)
            connection.check()

        assert connection.read().status == 408


def test_a_body_that_goes_on_is_waited_for(port: int) -> None:
    pieces = 2 * BoundedHttp.max_idle_checks
    with Stepped(port) as connection:
        connection.send_whole(POST + b"Content-Length: %d\r\n\r\n" % (pieces * LEAST_BYTES + 2))
        for _ in range(pieces):
            connection.send_whole(b" " * LEAST_BYTES)
            connection.check()
        connection.send(b"{}")

        assert connection.read().status == 201


def test_a_body_that_drips_is_refused(port: int) -> None:
    with Stepped(port) as connection:
        connection.send_whole(POST + b"Content-Length: %d\r\n\r\n" % (6 * LEAST_BYTES))
        connection.send_whole(b" " * (5 * LEAST_BYTES))  # what comes early does not help for long
        connection.check()
        for _ in range(BoundedHttp.max_idle_checks + 1):
            connection.send_whole(b" " * (2 * MIN_BYTES))
            connection.check()

        answer = connection.read()

    assert answer.status == 408
    assert b"128 KiB a second" in answer.content


def test_an_answer_that_is_taken_too_slowly_is_cut(port: int) -> None:
    with Stepped(port) as connection:
        ours = connection.ours
        for _ in range(200):
            connection.send(LARGE)
        checks = 0
        while ours in SteppedHttp.open and checks < 100:
            connection.socket.recv(2 * MIN_BYTES)
            connection.check()
            checks += 1

    assert checks < 100


def test_a_stop_in_a_body_that_was_refused_already_is_closed(port: int) -> None:
    head = b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 9999\r\n\r\n"
    with Stepped(port) as connection:
        connection.send(head)
        assert connection.read().status == 404
        connection.send(b"x")

        connection.check(BoundedHttp.max_idle_checks + 1)

        assert connection.rest() == b""


def test_answers_that_nobody_takes_are_thrown_away(port: int) -> None:
    with Stepped(port) as connection:
        connection.send_whole(LARGE)
        assert connection.read().status == 200
        ours = connection.ours
        for _ in range(200):
            connection.send(LARGE)
        # Until nothing moves any more: what the kernels on the way hold still does
        while ours in SteppedHttp.open:
            connection.check()

        taken = connection.rest().count(b"HTTP/1.1 200 ")
    assert taken < 200  # what the kernels on the way hold does come


def test_answers_that_are_taken_slowly_all_come(port: int) -> None:
    """The kernels on the way hold megabytes, and let go of them in lumps: one check per lump."""
    with Stepped(port) as connection:
        connection.send(LARGE * 150)
        for number in range(150):
            assert connection.read().status == 200
            if number % 30 == 29:
                connection.check()


def test_an_idle_connection_is_left_to_the_servers_own_clock(port: int) -> None:
    with Stepped(port) as connection:
        connection.send(GET)
        assert connection.read().status == 200

        connection.check(3 * BoundedHttp.max_idle_checks)
        connection.send(GET)

        assert connection.read().status == 200
