"""`report migration | comparison | scenario`: one HTML file to keep."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli.command_context import CommandContext, service_command, usage_error
from hacdbs_sim.model import DEFAULT_SESSION

app = typer.Typer(
    name="report", no_args_is_help=True, help="Write a report to keep: one HTML file."
)

Output: TypeAlias = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The file; by default standard output."),
]


@service_command(app, "migration")
def migration(
    context: CommandContext,
    migration_id: a.MigrationId,
    *,
    output: Output = None,
) -> None:
    """Write the report of a migration."""
    _write(context.client.migration(migration_id).report(), output)


@service_command(app, "comparison")
def comparison(
    context: CommandContext,
    comparison_id: Annotated[str, typer.Argument(metavar="COMPARISON_ID")],
    *,
    output: Output = None,
) -> None:
    """Write the report of a comparison."""
    _write(context.client.comparison(comparison_id).report(), output)


@service_command(app, "scenario")
def scenario(
    context: CommandContext,
    session: a.SessionName = DEFAULT_SESSION,
    *,
    output: Output = None,
) -> None:
    """Write the report of a session's scenario."""
    _write(context.client.session(session).report_scenario(), output)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise usage_error(f"the report cannot be written: {error}") from None
