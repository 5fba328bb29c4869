"""`cpu list | plug | unplug`: host CPUs and their units."""

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import Talk, talking
from hacdbs_sim.client.operations import vms as of_vms
from hacdbs_sim.client.specs import CpuRef

app = typer.Typer(no_args_is_help=True, help="List, plug and unplug the host CPUs of a VM.")


@app.command("list")
@talking
def list_cpus(talk: Talk, vm_id: a.VmId) -> None:
    """List the host CPUs of a VM and their units."""
    talk.show(views.cpus(talk.ask_all(of_vms.list_cpus(vm_id), "cpus")))


@app.command("plug")
@talking
def plug(talk: Talk, vm_id: a.VmId, cpu: a.CpuNumber) -> None:
    """Plug a CPU in."""
    talk.show(views.cpus([talk.ask(of_vms.plug(CpuRef(vm_id, cpu)))]))


@app.command("unplug")
@talking
def unplug(talk: Talk, vm_id: a.VmId, cpu: a.CpuNumber) -> None:
    """Plug a CPU out: its unit declines every call."""
    talk.show(views.cpus([talk.ask(of_vms.unplug(CpuRef(vm_id, cpu)))]))
