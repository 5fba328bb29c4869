"""`clock show | advance`: the virtual clock of a VM."""

from dataclasses import asdict
from typing import Annotated

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import CommandContext, service_command

app = typer.Typer(
    name="clock", no_args_is_help=True, help="Show and advance the virtual clock of a VM."
)


@service_command(app, "show")
def show(context: CommandContext, vm_id: a.VmId) -> None:
    """Show the virtual clock."""
    context.show(views.facts("", asdict(context.client.vm(vm_id).get_clock())))


@service_command(app, "advance")
def advance(
    context: CommandContext,
    vm_id: a.VmId,
    duration: Annotated[
        int, typer.Argument(metavar="TIME", parser=a.duration, help="Such as 500ms.")
    ],
) -> None:
    """Let virtual time pass while the guest is paused."""
    context.show(views.facts("", asdict(context.client.vm(vm_id).advance_clock(duration))))
