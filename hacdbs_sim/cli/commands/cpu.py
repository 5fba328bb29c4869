"""`cpu list | plug | unplug`: host CPUs and their units."""

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import Talk, talking

app = typer.Typer(no_args_is_help=True, help="List, plug and unplug the host CPUs of a VM.")


@app.command("list")
@talking
def list_cpus(talk: Talk, vm_id: a.VmId) -> None:
    """List the host CPUs of a VM and their units."""
    talk.show(views.cpus(talk.listed(talk.client.vm(vm_id).list_cpus(), "cpus")))


@app.command("plug")
@talking
def plug(talk: Talk, vm_id: a.VmId, cpu: a.CpuNumber) -> None:
    """Plug a CPU in."""
    talk.show(views.cpus([talk.client.vm(vm_id).set_cpu(cpu, online=True)]))


@app.command("unplug")
@talking
def unplug(talk: Talk, vm_id: a.VmId, cpu: a.CpuNumber) -> None:
    """Plug a CPU out: its unit declines every call."""
    talk.show(views.cpus([talk.client.vm(vm_id).set_cpu(cpu, online=False)]))
