"""`migration list | show | set | cancel | switch-over | ...`: migrations, and control of running ones."""

import inspect

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import CommandContext, service_command, usage_error
from hacdbs_sim.cli.options import Fields
from hacdbs_sim.client import Migration
from hacdbs_sim.client.results import read
from hacdbs_sim.model import MigrationCommand, MigrationInfo, UpdateMigration

app = typer.Typer(name="migration", no_args_is_help=True, help="List, show and control migrations.")


@service_command(app, "list")
def list_migrations(context: CommandContext, *, session: a.InSession = "-") -> None:
    """List the migrations."""
    found = context.list_all(context.client.list_migrations(session), "migrations")
    context.show(views.migrations(found))


@service_command(app, "show")
def show(context: CommandContext, migration_id: a.MigrationId) -> None:
    """Show a migration's passes, why it ended, and its sums."""
    _show(context, context.client.migration(migration_id).get())


@service_command(app, "set", fields_of=[UpdateMigration])
def set_(context: CommandContext, migration_id: a.MigrationId, *, fields: Fields) -> None:
    """Change settings of a running migration; those that are not given stay."""
    if not fields:
        raise usage_error("give at least one setting to change")
    response = context.client.migration(migration_id).send("PATCH", body=fields)
    _show_status(context, read(MigrationInfo, response))


def _show(context: CommandContext, info: MigrationInfo) -> None:
    context.show(
        views.passes(info),
        views.outcome(info.migration_id, info),
        *views.happenings(info),
        views.totals(info),
    )


def _show_status(context: CommandContext, info: MigrationInfo) -> None:
    context.show(views.outcome(info.migration_id, info), *views.happenings(info))


def _register(command: MigrationCommand) -> None:
    """Register a command to a running migration; its help is that of the client's method."""
    method = getattr(Migration, command, None) or getattr(Migration, f"{command}_")
    path = command.replace("_", "-")

    def perform(context: CommandContext, migration_id: a.MigrationId) -> None:
        response = context.client.migration(migration_id).send("POST", path)
        _show_status(context, read(MigrationInfo, response))

    perform.__doc__ = inspect.getdoc(method)
    service_command(app, path)(perform)


for each in MigrationCommand:
    _register(each)
