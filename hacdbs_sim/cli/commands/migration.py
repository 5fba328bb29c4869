"""`migrate`, `compare`: migrations in virtual time."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import CommandContext, service_command, usage_error
from hacdbs_sim.cli.documents import read_document
from hacdbs_sim.cli.exit_codes import ExitCode
from hacdbs_sim.cli.progress import pass_display
from hacdbs_sim.client.request import given
from hacdbs_sim.client.results import read
from hacdbs_sim.model import ComparisonInfo, MigrationInfo

app = typer.Typer(no_args_is_help=True)

WAIT_SECONDS: Final = 20
"""How long one request waits at the service; the client times out later."""

Preset = Annotated[str | None, typer.Option(help="converges or never_converges.")]


@service_command(app, "migrate")
def migrate(
    context: CommandContext,
    vm_id: a.VmId,
    *,
    file: Annotated[
        Path | None, typer.Option(help="Fields of POST /v1/migrations, JSON or YAML; `-`: stdin.")
    ] = None,
    preset: Preset = None,
    bandwidth: Annotated[
        int | None, typer.Option(parser=a.bandwidth, help="Bytes a second, such as 1GiB.")
    ] = None,
    downtime_limit: Annotated[
        int | None, typer.Option(parser=a.duration, help="Such as 300ms.")
    ] = None,
    max_iterations: Annotated[int | None, typer.Option(help="Passes while the guest runs.")] = None,
    timeout: Annotated[
        int | None, typer.Option(parser=a.duration, help="Virtual time, such as 30s.")
    ] = None,
    timeout_strategy: Annotated[
        str | None,
        typer.Option(
            help="cancel, switch_over or postcopy: at the timeout, after the last pass, in a stall."
        ),
    ] = None,
    stall: Annotated[
        int | None, typer.Option(parser=a.duration, help="The longest time without progress.")
    ] = None,
    postcopy: Annotated[bool, typer.Option("--postcopy", help="Allow post-copy.")] = False,
    link_bandwidth: Annotated[
        int | None, typer.Option(parser=a.bandwidth, help="The link's speed, such as 4MiB.")
    ] = None,
    latency: Annotated[
        int | None, typer.Option(parser=a.duration, help="The link's latency, one way.")
    ] = None,
    auto_converge: Annotated[
        bool, typer.Option("--auto-converge", help="Throttle the vCPUs as QEMU does.")
    ] = False,
    slot: Annotated[list[int] | None, typer.Option(help="Migrate these slots only.")] = None,
    clear_order: Annotated[
        str | None, typer.Option(help="before_copy, or after_copy, which loses pages.")
    ] = None,
    clear_chunk_pages: Annotated[int | None, typer.Option(help="Pages of one clear.")] = None,
    verify: Annotated[bool, typer.Option(help="Verify the result by page versions.")] = True,
    pace: Annotated[
        float | None, typer.Option(help="Real seconds that a virtual second takes.")
    ] = None,
    pace_ms: Annotated[
        int | None, typer.Option(help="Real milliseconds to wait after each pass.")
    ] = None,
) -> None:
    """Migrate a VM: exit 0 if it completes and no page is lost, else 1."""
    fields = given(
        vm_id=vm_id,
        preset=preset,
        bandwidth_bytes_per_second=bandwidth,
        downtime_limit_ns=downtime_limit,
        max_iterations=max_iterations,
        timeout_ns=timeout,
        timeout_strategy=timeout_strategy,
        auto_converge={} if auto_converge else None,
        slots=slot or None,
        clear_order=clear_order,
        clear_chunk_pages=clear_chunk_pages,
        verify=None if verify else False,
        stall_ns=stall,
        postcopy={} if postcopy else None,
        link=given(bytes_per_second=link_bandwidth, latency_ns=latency) or None,
        pace=pace,
        pace_ms=pace_ms,
    )
    body = fields if file is None else {**read_document(file).value, **fields}
    started = read(MigrationInfo, context.client.send("POST", "v1", "migrations", body=body))
    report = _watch(context, started)
    context.show(
        views.outcome(report.migration_id, report),
        *views.happenings(report),
        views.totals(report),
    )
    if report.status != "completed" or report.verification.lost_pages:
        raise typer.Exit(ExitCode.NEGATIVE)


def _watch(context: CommandContext, report: MigrationInfo) -> MigrationInfo:
    """Show each pass as it ends; cancel the migration on an interrupt."""
    migration = context.client.migration(report.migration_id)
    with pass_display(context.console, is_silent=context.as_json) as show:
        show(report)
        try:
            while not report.is_over:
                upcoming = f"iteration-{len(report.iterations) + 1}"
                report = migration.get(wait_for=upcoming, wait_seconds=WAIT_SECONDS)
                show(report)
        except KeyboardInterrupt:
            migration.cancel()
            raise
    return report


@service_command(app, "compare")
def compare(
    context: CommandContext,
    *,
    file: Annotated[
        Path | None, typer.Option(help="The body of POST /v1/comparisons; `-`: stdin.")
    ] = None,
    preset: Preset = None,
) -> None:
    """Run one migration with HACDBS, by software and under faults, side by side.

    Exit 0 if all complete and no page is lost, else 1.
    """
    if (file is None) == (preset is None):
        raise usage_error("give --preset or --file, and not both")
    body = _preset_body(context, preset) if file is None else read_document(file).value
    comparison = read(ComparisonInfo, context.client.send("POST", "v1", "comparisons", body=body))
    handle = context.client.comparison(comparison.comparison_id)
    while not comparison.is_over:
        comparison = handle.get(wait_for="end", wait_seconds=WAIT_SECONDS)
    context.show(views.comparison(comparison))
    if any(row.status != "completed" or row.lost_pages for row in comparison.rows):
        raise typer.Exit(ExitCode.NEGATIVE)


def _preset_body(context: CommandContext, name: str | None) -> dict[str, Any]:
    presets = context.client.list_migration_presets()
    found = {preset.preset: preset for preset in presets}
    if name not in found:
        raise usage_error(f"--preset must be one of {', '.join(sorted(found))}, not {name!r}")
    return {"vm": found[name].vm, "migration": {"preset": name}}
