"""The server, and the runner of `hacdbs-sim serve`: one process, one socket, a bounded stop."""

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

import uvicorn
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from ..logs import log_line, log_process
from ..settings import BadSettingsError, LogFormat, override_settings, read_settings
from .memory import bound_allocator, give_back
from .protocol import BoundedHttp
from .scheduling import share_interpreter, tend_always
from .workers import MoreWorkersError, check_one_worker_in_environment

STOP_SECONDS: Final = 5
"""How long a stop waits for calls in flight; those that have not ended are answered with 503."""

EXIT_SECONDS: Final = 8
"""When the process ends at the latest: a thread that works on a machine cannot be interrupted."""

GONE_SECONDS: Final = 60
"""A client whose kernel acknowledges nothing for this long has gone; its connection is closed."""

_FIND_GONE_CLIENTS: Final = tuple(
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", GONE_SECONDS // 2),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", GONE_SECONDS // 6),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", GONE_SECONDS * 1000),
    )
    if hasattr(socket, name)  # not all systems have all
)

BAD_SETTINGS: Final = 2
NOT_SERVED: Final = 1


class Application(Protocol):
    """An ASGI application that a server can stop."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""

    def begin_stop(self) -> None:
        """End event streams and long polls, which do not end by themselves."""


class Server(uvicorn.Server):
    """uvicorn with bounds on each connection, which stops the application before it waits.

    `make_application` is called once the server starts, `report` once requests are answered. One that
    `is_alone` in its process collects the process' garbage.
    """

    def __init__(
        self,
        make_application: Callable[[], Application],
        *,
        report: Callable[[], None] | None = None,
        http: type[BoundedHttp] = BoundedHttp,
        keep_alive_seconds: int = 5,
        is_alone: bool = False,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                self._load,
                factory=True,
                log_config=None,  # requests are logged by the application
                log_level="warning",
                access_log=False,
                server_header=False,
                http=http,
                ws="none",  # unused here, and it would bypass the middleware
                proxy_headers=False,
                timeout_keep_alive=keep_alive_seconds,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        self._make_application = make_application
        self._application: Application | None = None
        self._report = report
        self._giving_back: asyncio.Task[None] | None = None
        self._is_alone = is_alone
        self._tending: asyncio.Task[None] | None = None

    def _load(self) -> Application:
        self._application = self._make_application()
        return self._application

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then report the address."""
        await super().startup(sockets)
        self._giving_back = asyncio.create_task(give_back())
        if self._is_alone:
            self._tending = asyncio.create_task(tend_always())
        if self.started and self._report is not None:
            self._report()

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and end the process if that takes too long; called for a signal only."""
        super().handle_exit(sig, frame)
        timer = threading.Timer(EXIT_SECONDS, _exit)
        timer.daemon = True
        timer.start()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: end streams and long polls first, because uvicorn waits for every response."""
        if self._tending is not None:
            self._tending.cancel()
        if self._application is not None:
            self._application.begin_stop()
        if self._giving_back is not None:
            self._giving_back.cancel()
        await super().shutdown(sockets)


def serve(
    make_application: Callable[[], Application],
    options: Mapping[str, object],
    port_file: Path | None,
) -> int:
    """Serve until SIGTERM or SIGINT, then let calls in flight end.

    Args:
        make_application: Makes the application, from the environment as it is by then.
        options: Settings that take the place of the environment's, by name; None: not given.
        port_file: Where to write the bound port once requests are answered.

    Returns:
        The exit status: 0 after a requested stop, 2 for unusable settings, else 1.
    """
    bound_allocator()
    override_settings(**options)
    try:
        check_one_worker_in_environment()
        settings = read_settings()
    except (BadSettingsError, MoreWorkersError) as error:
        print(error, file=sys.stderr)
        return BAD_SETTINGS
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        # Python adds the address in brackets
        what = str(error).partition(" (while attempting")[0]
        advice = "; choose another with --port" if error.errno == errno.EADDRINUSE else ""
        event = f"cannot listen on {settings.host}:{settings.port}: {what}{advice}"
        print(log_line(settings.log_format, "error", event), file=sys.stderr)
        return NOT_SERVED
    log_process(settings.log_format, settings.log_level)
    # The line before has the reason, and this one follows each
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: record.getMessage() != "Application startup failed. Exiting."
    )

    def report() -> None:
        port = listener.getsockname()[1]
        if port_file is not None:
            write_port(port_file, port)
        print(listening_line(listener, settings.log_format), file=sys.stderr, flush=True)

    share_interpreter()
    with listener:
        server = Server(make_application, report=report, is_alone=True)
        # uvicorn's own handlers come later, and after the stop it raises each signal anew for those
        # found before. With the same handlers there, a signal that comes early is not lost, and a
        # requested stop ends in status 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        server.run(sockets=[listener])
    return 0 if server.started else NOT_SERVED


def _exit() -> None:
    """End the process, whatever its threads do: there is nothing to be kept."""
    logging.getLogger("uvicorn.error").error("The service ends before the calls in its threads do")
    os._exit(0)


def listen(host: str, port: int) -> socket.socket:
    """Bind the socket before anything else starts, so that a port in use is reported at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024)
    for level, option, value in _FIND_GONE_CLIENTS:
        listener.setsockopt(level, option, value)  # its connections inherit them
    return listener


def listening_line(listener: socket.socket, log_format: LogFormat) -> str:
    """Return the line that reports the address of the service."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if log_format is LogFormat.JSON:
        return log_line(log_format, "info", "listening", url=url)
    return log_line(log_format, "info", f"hacdbs-sim listens on {url}")


def write_port(path: Path, port: int) -> None:
    """Write the port atomically: a reader finds the whole number or no file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(f"{port}\n", encoding="ascii")
    unfinished.replace(path)
