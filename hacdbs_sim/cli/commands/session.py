"""`session list | create | reset | delete`: sessions."""

from typing import Annotated

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import CommandContext, service_command

app = typer.Typer(
    name="session", no_args_is_help=True, help="List, create, reset and delete sessions."
)


@service_command(app, "list")
def list_sessions(context: CommandContext) -> None:
    """List the sessions."""
    context.show(views.sessions(context.list_all(context.client.list_sessions(), "sessions")))


@service_command(app, "create")
def create(
    context: CommandContext,
    session: Annotated[
        str | None,
        typer.Argument(
            metavar="[SESSION]", help="Its id; the next free one of s1, s2, ... if absent."
        ),
    ] = None,
) -> None:
    """Create a session."""
    context.show(f"session {context.client.create_session(session).session_id} is created")


@service_command(app, "reset")
def reset(context: CommandContext, session: a.SessionName) -> None:
    """Delete a session's VMs, and number new ones from 1 again."""
    context.client.session(session).reset()
    context.show(f"session {session} is empty")


@service_command(app, "delete")
def delete(context: CommandContext, session: a.SessionName) -> None:
    """Delete a session with its VMs."""
    context.client.session(session).delete()
    context.show(f"session {session} is deleted")
