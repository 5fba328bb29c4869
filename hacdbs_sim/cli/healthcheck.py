"""`hacdbs-sim healthcheck`: is the service of these settings ready? For a container's HEALTHCHECK."""

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Annotated, Final

import typer

from hacdbs_sim import launcher

TIMEOUT_SECONDS: Final = 3.0

# Where a service can be reached that listens on every address
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - names it, binds nothing


def healthcheck(
    host: Annotated[str | None, typer.Option(help="Address; default: HACDBS_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; default: HACDBS_PORT.")] = None,
) -> None:
    """Ask /readyz; exit 0 if the service takes work, else 1."""
    environment = launcher.load("server.environment")
    try:
        settings = environment.read_settings()
    except environment.BadSettingsError as error:
        # Docker reserves every other status
        typer.echo(error, err=True)
        raise typer.Exit(1) from None
    host = host or _LOOPBACK.get(settings.host, settings.host)
    port = settings.port if port is None else port
    try:
        status = readiness(host, port)
    except (OSError, HTTPException) as error:
        typer.echo(f"no answer from {host}:{port}: {error}", err=True)
        raise typer.Exit(1) from None
    if status != HTTPStatus.OK:
        typer.echo(f"/readyz of {host}:{port} answers {status}", err=True)
        raise typer.Exit(1)


def readiness(host: str, port: int) -> int:
    """Ask /readyz and give the status of the answer."""
    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    finally:
        connection.close()
