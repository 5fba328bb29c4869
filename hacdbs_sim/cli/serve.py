"""`hacdbs-sim serve`: the command; the server is the application's own."""

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
        Path | None, typer.Option(help="Write the bound port here once requests are answered.")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="console|json", help="How log lines are written.")
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(metavar="debug|info|warning|error", help="From which severity on."),
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="What the session `default` is at the start."),
    ] = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then let calls in flight end; the environment is HACDBS_*."""
    runner = launcher.load("server.runner")
    given = {
        "host": host,
        "port": port,
        "log_format": log_format,
        "log_level": log_level,
        "scenario": scenario,
    }
    # Made by the server: a signal that comes meanwhile must find its handlers
    status = runner.serve(lambda: launcher.load("main").app, given, port_file)
    if status:
        raise typer.Exit(status)
