"""`cpu list | plug | unplug`: host CPUs and their units."""

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import CommandContext, service_command

app = typer.Typer(
    name="cpu", no_args_is_help=True, help="List, plug and unplug the host CPUs of a VM."
)


@service_command(app, "list")
def list_cpus(context: CommandContext, vm_id: a.VmId) -> None:
    """List the host CPUs of a VM and their units."""
    context.show(views.cpus(context.list_all(context.client.vm(vm_id).list_cpus(), "cpus")))


@service_command(app, "plug")
def plug(context: CommandContext, vm_id: a.VmId, cpu: a.CpuNumber) -> None:
    """Plug a CPU in."""
    context.show(views.cpus([context.client.vm(vm_id).set_cpu(cpu, online=True)]))


@service_command(app, "unplug")
def unplug(context: CommandContext, vm_id: a.VmId, cpu: a.CpuNumber) -> None:
    """Plug a CPU out: its unit declines every call."""
    context.show(views.cpus([context.client.vm(vm_id).set_cpu(cpu, online=False)]))
