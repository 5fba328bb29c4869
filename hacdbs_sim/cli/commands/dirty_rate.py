"""`dirty-rate`: how fast a guest dirties memory."""

from typing import Annotated, Final

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import CommandContext, service_command
from hacdbs_sim.model import DirtyRateMode

app = typer.Typer(no_args_is_help=True)

ONE_SECOND_NS: Final = 1_000_000_000


@service_command(app, "dirty-rate")
def dirty_rate(
    context: CommandContext,
    vm_id: a.VmId,
    *,
    duration: Annotated[
        int | None, typer.Option(parser=a.duration, help="Virtual time, 50ms to 60s; 1s if absent.")
    ] = None,
    mode: Annotated[DirtyRateMode | None, typer.Option(help="How it is measured.")] = None,
    sample_pages: Annotated[
        int | None, typer.Option(help="Pages to sample of each GiB, 128 to 16384.")
    ] = None,
    query: Annotated[
        bool, typer.Option("--query", help="Show the last measurement, and begin none.")
    ] = False,
) -> None:
    """Measure how fast the guest dirties memory; beside a migration, begin to measure."""
    vm = context.client.vm(vm_id)
    if query:
        info = vm.query_dirty_rate()
    else:
        duration_ns = ONE_SECOND_NS if duration is None else duration
        info = vm.calc_dirty_rate(duration_ns, mode=mode, sample_pages_per_gib=sample_pages)
    context.show(*views.dirty_rate(info))
