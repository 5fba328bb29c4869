"""`hacdbs-sim serve`; the server is in app.server."""

from pathlib import Path
from typing import Annotated

import typer

from hacdbs_sim import launcher


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address; default: HACDBS_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port, 0 for any free one; default: HACDBS_PORT.")
    ] = None,
    port_file: Annotated[
        Path | None, typer.Option(help="Write the port to this file once the service listens.")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="console|json", help="Format of log lines.")
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(metavar="debug|info|warning|error", help="Lowest severity that is logged."),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Set up the session `default` from this scenario."),
    ] = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish requests in flight; settings are HACDBS_*."""
    runner = launcher.load("server.runner")
    given = {
        "host": host,
        "port": port,
        "log_format": log_format,
        "log_level": log_level,
        "scenario": scenario,
    }
    # The server imports the application after it has installed its signal handlers
    status = runner.serve(lambda: launcher.load("main").app, given, port_file)
    if status:
        raise typer.Exit(status)
