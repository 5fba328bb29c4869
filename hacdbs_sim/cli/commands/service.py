"""`reset`, `wait`: reset a session, wait for the service or a migration."""

import math
import time
from typing import Annotated, Final

import typer

from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import CommandContext, service_command
from hacdbs_sim.client import WaitTimeoutError
from hacdbs_sim.client.waiting import READY_SECONDS

app = typer.Typer(no_args_is_help=True)

LONGEST_SECONDS: Final = 20
"""How long one request waits at the service; the client times out later."""


@service_command(app, "reset")
def reset(
    context: CommandContext,
    *,
    session: Annotated[str, typer.Argument(metavar="[SESSION]")] = "default",
) -> None:
    """Delete a session's VMs, and number new ones from 1 again."""
    context.client.session(session).reset()
    context.show(f"session {session} is empty")


@service_command(app, "wait")
def wait(
    context: CommandContext,
    *,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait.")] = READY_SECONDS,
    migration: Annotated[
        str | None, typer.Option(help="Wait for the end of this migration, such as default-m1.")
    ] = None,
) -> None:
    """Wait until the service is ready, or until a migration has ended."""
    if migration is not None:
        _wait_for(context, migration, timeout)
        return
    context.client.wait_ready(timeout)
    context.show("ready")


def _wait_for(context: CommandContext, migration_id: str, timeout: float) -> None:
    migration = context.client.migration(migration_id)
    ends_at = time.monotonic() + timeout
    seconds = timeout
    while True:
        wait_seconds = min(math.ceil(max(seconds, 0)), LONGEST_SECONDS)
        report = migration.get(wait_for="end", wait_seconds=wait_seconds)
        seconds = ends_at - time.monotonic()
        if report.is_over:
            context.show(views.outcome(report.migration_id, report))
            return
        if seconds <= 0:
            raise WaitTimeoutError(f"{migration_id} is {report.status} after {timeout:g} s")
