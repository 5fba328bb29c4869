"""`migrate`, `compare`: migrations in virtual time."""

import uuid
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import CommandContext, service_command, usage_error
from hacdbs_sim.cli.documents import fields_of, read_document
from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.cli.options import Fields
from hacdbs_sim.cli.progress import pass_display
from hacdbs_sim.client import TransportError
from hacdbs_sim.client.request import given
from hacdbs_sim.client.results import read
from hacdbs_sim.model import ComparisonInfo, MigrationInfo, StartMigration
from hacdbs_sim.model.migrations import PresetName

app = typer.Typer(no_args_is_help=True)

WAIT_SECONDS: Final = 20
"""How long one request waits at the service; the client times out later."""

PRESET: Final[PresetName] = "converges"


@service_command(app, "migrate", fields_of=[StartMigration], without=("vm_id", "link"))
def migrate(
    context: CommandContext,
    vm_id: a.VmId,
    *,
    file: Annotated[
        Path | None, typer.Option(help="Fields of POST /v1/migrations, JSON or YAML; `-`: stdin.")
    ] = None,
    link_bandwidth: Annotated[
        int | None, typer.Option(parser=a.bandwidth, help="The link's speed, such as 4MiB.")
    ] = None,
    latency: Annotated[
        int | None, typer.Option(parser=a.duration, help="The link's latency, one way.")
    ] = None,
    fields: Fields,
) -> None:
    """Migrate a VM: exit 0 if it completes and no page is lost, else 1."""
    link = given(bytes_per_second=link_bandwidth, latency_ns=latency)
    body = {**fields_of(file), "vm_id": vm_id, **fields, **given(link=link or None)}
    client, key = context.client, uuid.uuid4().hex

    def start() -> MigrationInfo:
        return read(MigrationInfo, client.send("POST", "v1", "migrations", body=body, key=key))

    try:
        started = start()
        if body.get("preset") and not client.vm(vm_id).get().workloads:
            typer.echo(
                f"warning: {vm_id} has no workloads, so nothing is written while it is migrated;"
                " the preset's VM, with its workloads, is in GET /v1/migration-presets",
                err=True,
            )
        report = _watch(context, started)
    except KeyboardInterrupt:
        # It may have come before the response: the key gives that one again, and starts no second
        with suppress(TransportError):
            client.migration(start().migration_id).cancel()
        raise
    context.show(
        views.outcome(report.migration_id, report),
        *views.happenings(report),
        views.totals(report),
    )
    if report.status != "completed" or report.verification.lost_pages:
        raise typer.Exit(ExitCode.NEGATIVE)


def _watch(context: CommandContext, report: MigrationInfo) -> MigrationInfo:
    """Show each pass as it ends."""
    migration = context.client.migration(report.migration_id)
    with pass_display(context.console, is_silent=context.as_json) as show:
        show(report)
        while not report.is_over:
            upcoming = f"iteration-{len(report.iterations) + 1}"
            report = migration.get(wait_for=upcoming, wait_seconds=WAIT_SECONDS)
            show(report)
    return report


@service_command(app, "compare")
def compare(
    context: CommandContext,
    *,
    file: Annotated[
        Path | None, typer.Option(help="The body of POST /v1/comparisons; `-`: stdin.")
    ] = None,
    preset: Annotated[
        PresetName | None, typer.Option(help=f"The migration, with its VM; default: {PRESET}.")
    ] = None,
) -> None:
    """Run one migration with HACDBS, by software and under faults, side by side.

    Exit 0 if all complete and no page is lost, else 1.
    """
    if file is not None and preset is not None:
        raise usage_error("give --preset or --file, and not both")
    body = _preset_body(context, preset or PRESET) if file is None else read_document(file).value
    comparison = read(ComparisonInfo, context.client.send("POST", "v1", "comparisons", body=body))
    handle = context.client.comparison(comparison.comparison_id)
    while not comparison.is_over:
        comparison = handle.get(wait_for="end", wait_seconds=WAIT_SECONDS)
    context.show(views.comparison(comparison))
    if any(row.status != "completed" or row.lost_pages for row in comparison.rows):
        raise typer.Exit(ExitCode.NEGATIVE)


def _preset_body(context: CommandContext, name: PresetName) -> dict[str, Any]:
    found = {preset.preset: preset for preset in context.client.list_migration_presets()}
    return {"vm": found[name].vm, "migration": {"preset": name}}
