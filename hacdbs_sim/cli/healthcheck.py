"""`hacdbs-sim healthcheck`, for the HEALTHCHECK of a container."""

from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Annotated, Final

import typer

from hacdbs_sim import launcher

TIMEOUT_SECONDS: Final = 3.0

# The address to connect to, of a service that listens on every address
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - names it, binds nothing


def healthcheck(
    host: Annotated[str | None, typer.Option(help="Address; default: HACDBS_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; default: HACDBS_PORT.")] = None,
) -> None:
    """Request /readyz; exit 0 if the service is ready, else 1."""
    service = launcher.load("settings")
    try:
        settings = service.read_settings()
    except service.BadSettingsError as error:
        # Docker reserves every other status
        typer.echo(error, err=True)
        raise typer.Exit(1) from None
    host = host or _LOOPBACK.get(settings.host, settings.host)
    port = settings.port if port is None else port
    try:
        with closing(HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)) as connection:
            connection.request("GET", "/readyz")
            status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        typer.echo(f"no response from {host}:{port}: {error}", err=True)
        raise typer.Exit(1) from None
    if status != HTTPStatus.OK:
        typer.echo(f"/readyz of {host}:{port} returned {status}", err=True)
        raise typer.Exit(1)
