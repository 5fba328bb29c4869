"""How long a connection may stand still: with checks in quick succession, so that a test can wait.

The service is a real one in this process, for only its clock's pace differs from `serve`.
"""

import threading
import time
from collections.abc import Generator
from typing import Final

import pytest

from app.main import create_app
from app.server.protocol import BoundedHttp
from app.server.runner import Server, listen
from app.settings import LogLevel, Settings
from tests.fuzz.attacks import GET, HOST, POST
from tests.fuzz.wire import PATIENCE_SECONDS, Connection, NoAnswerError

CHECK_SECONDS: Final = 0.05
LARGE: Final = b"GET /openapi.json HTTP/1.1\r\n" + HOST + b"\r\n"


class QuickChecks(BoundedHttp):
    check_seconds = CHECK_SECONDS


@pytest.fixture(scope="module")
def server() -> Server:
    app = create_app(Settings(log_level=LogLevel.ERROR))
    return Server(lambda: app, http=QuickChecks)


@pytest.fixture(scope="module")
def port(server: Server) -> Generator[int]:
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]

        server.should_exit = True
        thread.join()


def closes(connection: Connection) -> bool:
    """Wait for the server's close; an answer instead is none."""
    try:
        connection.read()
    except (NoAnswerError, ConnectionError):
        return True
    return False


@pytest.mark.parametrize("sent", [b"", POST + b"Content-Length: 9\r\n\r\n{"])
def test_a_connection_that_stands_still_is_closed(port: int, sent: bytes) -> None:
    with Connection(port) as connection:
        connection.send(sent)

        assert closes(connection)


@pytest.mark.parametrize("sent", [b"\r\n", POST])
def test_a_head_that_stands_still_is_refused(port: int, sent: bytes) -> None:
    with Connection(port) as connection:
        connection.send(sent)

        assert connection.read().status == 408
        assert closes(connection)


def test_a_head_that_drips_is_refused_however_steadily(port: int) -> None:
    with Connection(port) as connection:
        connection.send(b"GET /livez HTTP/1.1\r\nX: ")
        for _ in range(12):
            try:
                connection.send(b"drip")
            except ConnectionError:
                break
            time.sleep(CHECK_SECONDS / 2)

        assert connection.read().status == 408


def test_a_body_that_goes_on_is_waited_for(port: int) -> None:
    length = 30 * 512
    with Connection(port) as connection:
        connection.send(POST + b"Content-Length: %d\r\n\r\n" % length)
        for _ in range(length // 512 - 1):
            connection.send(b" " * 512)
            time.sleep(CHECK_SECONDS / 4)
        connection.send(b" " * 510 + b"{}")

        assert connection.read().status == 201


def test_a_stop_in_a_body_that_was_refused_already_is_closed(port: int) -> None:
    head = b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 9999\r\n\r\n"
    with Connection(port) as connection:
        connection.send(head)
        assert connection.read().status == 404
        connection.send(b"x")

        assert closes(connection)


def test_answers_that_nobody_takes_are_thrown_away(port: int, server: Server) -> None:
    with Connection(port) as connection:
        connection.send(LARGE)
        assert connection.read().status == 200
        for _ in range(200):
            connection.send(LARGE)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while server.server_state.connections and time.monotonic() < deadline:
            time.sleep(CHECK_SECONDS)

        taken = 0
        while not closes(connection):
            taken += 1
        assert taken < 200  # what the kernels on the way hold does come


def test_answers_that_are_taken_slowly_all_come(port: int) -> None:
    with Connection(port) as connection:
        connection.send(LARGE * 150)
        for _ in range(150):
            # No slower: the kernels on the way hold megabytes, and let go of them in lumps.
            time.sleep(CHECK_SECONDS / 10)
            assert connection.read().status == 200


def test_an_idle_connection_is_left_to_the_servers_own_clock(port: int) -> None:
    with Connection(port) as connection:
        connection.send(GET)
        assert connection.read().status == 200
        time.sleep(CHECK_SECONDS * 8)
        connection.send(GET)

        assert connection.read().status == 200
