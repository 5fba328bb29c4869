"""`hacdbs-sim serve`: one process, one listening socket, a graceful stop with a bound."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Annotated, Final

import typer
import uvicorn
from typing_extensions import override

from app.cli.connection import BoundedHttp
from app.cli.environment import BadSettingsError, override_settings, read_settings
from app.settings import LogFormat, LogLevel

STOP_SECONDS: Final = 5

# By name, because the application is made above the command line: settings reach it as environment
APPLICATION: Final = "app.main:app"


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address; default: HACDBS_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port, 0 for any free one; default: HACDBS_PORT.")
    ] = None,
    port_file: Annotated[
        Path | None, typer.Option(help="Write the bound port here once requests are answered.")
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="How log lines are written.")] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="From which severity on.")] = None,
    scenario: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="What the session `default` is at the start."),
    ] = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then let calls in flight end; the environment is HACDBS_*."""
    override_settings(
        host=host, port=port, log_format=log_format, log_level=log_level, scenario=scenario
    )
    try:
        settings = read_settings()
    except BadSettingsError as error:
        typer.echo(error, err=True)
        raise typer.Exit(2) from None
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        typer.echo(f"cannot listen on {settings.host}:{settings.port}: {error}", err=True)
        raise typer.Exit(1) from None

    server = Server(listener, settings.log_format, port_file)
    with listener:
        # uvicorn's own handlers come later, and after the stop it raises each signal anew for those
        # found before. With the same handlers there, a signal that comes early is not lost, and a
        # stop that was asked for ends in status 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        server.run(sockets=[listener])
    if not server.started:
        raise typer.Exit(1)


def listen(host: str, port: int) -> socket.socket:
    """Bind before anything else starts, so that a port in use is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


class Server(uvicorn.Server):
    """uvicorn on a bound socket, which tells where it listens once it does."""

    def __init__(
        self, listener: socket.socket, log_format: LogFormat, port_file: Path | None
    ) -> None:
        super().__init__(
            uvicorn.Config(
                APPLICATION,
                log_config=None,  # requests are logged by the application
                access_log=False,
                server_header=False,
                http=BoundedHttp,
                ws="none",  # nothing here speaks it, and it would come in past the gate
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
        """Start, then tell."""
        await super().startup(sockets)
        if not self.started:
            return
        if self._port_file is not None:
            write_port(self._port_file, self._port)
        if self._log_format is LogFormat.JSON:
            typer.echo(json.dumps({"event": "listening", "url": self._url}), err=True)
        else:
            typer.echo(f"hacdbs-sim listens on {self._url}", err=True)


def write_port(path: Path, port: int) -> None:
    """Write the port in one step: a reader finds all of it or no file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(f"{port}\n", encoding="ascii")
    unfinished.replace(path)
