"""`reset`, `wait`: reset a session, wait for the service or a migration."""

import math
import time
from typing import Annotated

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import completion, views
from hacdbs_sim.cli.command_context import CommandContext, service_command
from hacdbs_sim.client import WaitTimeoutError
from hacdbs_sim.client.waiting import POLL_SECONDS, READY_SECONDS
from hacdbs_sim.model import DEFAULT_SESSION

app = typer.Typer(no_args_is_help=True)


@service_command(app, "reset")
def reset(
    context: CommandContext,
    *,
    session: a.SessionName = DEFAULT_SESSION,
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
        str | None,
        typer.Option(
            help="Wait for the end of this migration, such as default-m1.",
            autocompletion=completion.migration_ids,
        ),
    ] = None,
) -> None:
    """Wait until the service is ready, or until a migration has ended."""
    if migration is None:
        context.client.wait_ready(timeout)
        context.show("ready")
        return
    handle = context.client.migration(migration)
    ends_at = time.monotonic() + timeout
    seconds = timeout
    while True:
        wait_seconds = min(math.ceil(max(seconds, 0)), POLL_SECONDS)
        report = handle.get(wait_for="end", wait_seconds=wait_seconds)
        seconds = ends_at - time.monotonic()
        if report.is_over:
            context.show(views.outcome(report.migration_id, report), *views.happenings(report))
            return
        if seconds <= 0:
            raise WaitTimeoutError(f"{migration} is {report.status} after {timeout:g} s")
