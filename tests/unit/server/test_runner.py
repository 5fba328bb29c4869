"""The server: it stops the application before it waits for responses."""

import asyncio
import json
import socket
import threading
import time

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.server.runner import Server, listen, listening_line
from app.settings import LogFormat
from hacdbs_sim.client import serve_in_thread


class Waiting:
    """An application that responds only when it is stopped."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.calls: list[str] = []
        self._stop = asyncio.Event()

    def begin_stop(self) -> None:
        self.calls.append("begin_stop")
        self._stop.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.calls.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.has_begun.set()
        await self._stop.wait()
        self.calls.append("answer")
        await PlainTextResponse("done")(scope, receive, send)


def test_the_application_is_asked_to_stop_before_answers_are_waited_for() -> None:
    application = Waiting()
    started = threading.Event()
    server = Server(lambda: application, report=started.set)
    answers: list[httpx.Response] = []
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        serving.start()
        assert started.wait(10)
        calling = threading.Thread(target=lambda: answers.append(httpx.get(url, trust_env=False)))
        calling.start()
        assert application.has_begun.wait(10)

        server.should_exit = True
        serving.join(10)
        calling.join(10)

    assert application.calls == ["begin_stop", "answer", "shutdown"]
    assert [answer.text for answer in answers] == ["done"]


def test_a_stream_of_a_service_in_a_thread_ends_with_the_service() -> None:
    with serve_in_thread(log_level="error") as service:
        stream = httpx.stream(
            "GET",
            f"{service.url}/v1/events",
            headers={"Accept": "text/event-stream"},
            trust_env=False,
        )
        answer = stream.__enter__()
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"
        stop_at = time.monotonic()

    assert list(lines) == ["", "id: 0", ""]
    assert time.monotonic() - stop_at < 3
    stream.__exit__(None, None, None)


def test_the_line_at_the_start_has_level_time_and_url() -> None:
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        text = listening_line(listener, LogFormat.CONSOLE)
        line = json.loads(listening_line(listener, LogFormat.JSON))

    assert text.endswith(f"Z [info] hacdbs-sim listens on {url}")
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "info", "event": "listening", "url": url}


def test_the_url_of_an_ipv6_address_has_brackets() -> None:
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind(("::1", 0))

        assert "http://[::1]:" in listening_line(listener, LogFormat.CONSOLE)
