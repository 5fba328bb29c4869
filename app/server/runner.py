"""The runner of `hacdbs-sim serve`: one process, one listening socket, a graceful stop with a bound."""

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import uvicorn
from typing_extensions import override

from ..settings import LogFormat
from .environment import BadSettingsError, override_settings, read_settings
from .protocol import BoundedHttp

STOP_SECONDS: Final = 5

BAD_SETTINGS: Final = 2
NOT_SERVED: Final = 1


def serve(options: Mapping[str, object], port_file: Path | None) -> int:
    """Serve until SIGTERM or SIGINT, then let calls in flight end.

    Args:
        options: Settings that take the place of the environment's, by name; None: not given.
        port_file: Where to write the bound port once requests are answered.

    Returns:
        The exit status: 0 after a stop that was asked for, 2 for unusable settings, else 1.
    """
    override_settings(**options)
    try:
        settings = read_settings()
    except BadSettingsError as error:
        print(error, file=sys.stderr)
        return BAD_SETTINGS
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        print(f"cannot listen on {settings.host}:{settings.port}: {error}", file=sys.stderr)
        return NOT_SERVED

    server = Server(listener, settings.log_format, port_file)
    with listener:
        # uvicorn's own handlers come later, and after the stop it raises each signal anew for those
        # found before. With the same handlers there, a signal that comes early is not lost, and a
        # stop that was asked for ends in status 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        server.run(sockets=[listener])
    return 0 if server.started else NOT_SERVED


def listen(host: str, port: int) -> socket.socket:
    """Bind before anything else starts, so that a port in use is reported at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


class Server(uvicorn.Server):
    """uvicorn on a bound socket, which reports where it listens once it does."""

    def __init__(
        self, listener: socket.socket, log_format: LogFormat, port_file: Path | None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                # By name: the application is made above the server, and reads the environment
                f"{__package__.rpartition('.')[0]}.main:app",
                log_config=None,  # requests are logged by the application
                access_log=False,
                server_header=False,
                http=BoundedHttp,
                ws="none",  # nothing here speaks it, and it would come in past the middleware
                proxy_headers=False,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        host, self._port = listener.getsockname()[:2]
        self._url = (
            f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"
        )
        self._log_format = log_format
        self._port_file = port_file

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then report it."""
        await super().startup(sockets)
        if not self.started:
            return
        if self._port_file is not None:
            write_port(self._port_file, self._port)
        if self._log_format is LogFormat.JSON:
            line = json.dumps({"event": "listening", "url": self._url})
        else:
            line = f"hacdbs-sim listens on {self._url}"
        print(line, file=sys.stderr, flush=True)


def write_port(path: Path, port: int) -> None:
    """Write the port in one step: a reader finds all of it or no file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(f"{port}\n", encoding="ascii")
    unfinished.replace(path)
