"""The application in this process, without a socket; it stands above the client."""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import Any, Final, NamedTuple, Self

import httpx
from typing_extensions import override

from hacdbs_sim import launcher

IN_PROCESS_URL: Final = "http://in-process"
EVENT_STREAM: Final = "text/event-stream"
ANY_HOST: Final = {"allowed_hosts": ("*",)}
"""A setting: browsers cannot connect, so every Host header is allowed."""


class Application(NamedTuple):
    """An ASGI application, and the token that it requires."""

    asgi: Any
    token: str | None


def load_application(settings: Mapping[str, Any]) -> Application:
    """Return a new application; settings that are not given come from the environment.

    Raises:
        ValueError: A setting is unknown or invalid.
    """
    made = launcher.load("settings").read_settings(**{"log_level": "warning", **settings})
    token = None if made.token is None else made.token.get_secret_value()
    return Application(launcher.load("main").create_app(made), token)


class LoopTransport(httpx.ASGITransport):
    """Sends requests to an application in the caller's event loop."""

    def __init__(self, application: Application) -> None:
        super().__init__(application.asgi)
        self._asgi = application.asgi
        self._life = AsyncExitStack()

    @override
    async def __aenter__(self) -> Self:
        await self._life.enter_async_context(self._asgi.router.lifespan_context(self._asgi))
        return self

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; refuse one for a stream of events, which would never return."""
        if EVENT_STREAM in request.headers.get("accept", ""):
            raise httpx.UnsupportedProtocol(
                "a stream cannot be read in process; watch_events() can", request=request
            )
        return await super().handle_async_request(request)

    @override
    async def aclose(self) -> None:
        """Stop the application."""
        await self._life.aclose()


class ThreadTransport(httpx.BaseTransport):
    """Sends requests to an application whose event loop runs in a thread of its own."""

    def __init__(self, application: Application) -> None:
        self._asgi = LoopTransport(application)
        self._started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon, so that an unclosed client does not delay the end of the interpreter
        self._thread = threading.Thread(
            target=asyncio.run, args=(self._live(),), name="hacdbs-sim", daemon=True
        )
        self._thread.start()
        self._loop, self._end = self._started.result()

    async def _live(self) -> None:
        end = asyncio.Event()
        try:
            async with self._asgi:
                self._started.set_result((asyncio.get_running_loop(), end))
                await end.wait()
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and wait for its response."""
        return asyncio.run_coroutine_threadsafe(self._response(request), self._loop).result()

    async def _response(self, request: httpx.Request) -> httpx.Response:
        response = await self._asgi.handle_async_request(request)
        content = await response.aread()
        return httpx.Response(
            response.status_code, headers=response.headers, stream=httpx.ByteStream(content)
        )

    @override
    def close(self) -> None:
        """Stop the application."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()
