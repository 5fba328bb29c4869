"""`workload list | add | delete`: what writes by itself whenever the guest runs."""

from pathlib import Path
from typing import Annotated

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import completion, views
from hacdbs_sim.cli.command_context import CommandContext, service_command, usage_error
from hacdbs_sim.cli.documents import fields_of
from hacdbs_sim.cli.options import Fields
from hacdbs_sim.client.request import given
from hacdbs_sim.client.results import read
from hacdbs_sim.model import WORKLOADS, WorkloadInfo, WorkloadKind

app = typer.Typer(
    name="workload", no_args_is_help=True, help="List, add and delete the workloads of a VM."
)


@service_command(app, "list")
def list_workloads(context: CommandContext, vm_id: a.VmId) -> None:
    """List the workloads of a VM, and how far each has come."""
    found = context.list_all(context.client.vm(vm_id).list_workloads(), "workloads")
    context.show(views.workloads(found))


@service_command(app, "add", fields_of=WORKLOADS)
def add(
    context: CommandContext,
    *,
    vm_id: a.VmId,
    kind: Annotated[
        WorkloadKind | None,
        typer.Argument(
            metavar="[KIND]", help="sequential, uniform, hot_set, zipf, moving, replay."
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="The body of POST .../workloads, JSON or YAML; `-`: stdin."),
    ] = None,
    fields: Fields,
) -> None:
    """Add a workload, which writes whenever the guest runs; options take precedence over the file."""
    of_file = fields_of(file)
    body = {**of_file, **given(kind=kind), **fields}
    response = context.client.vm(vm_id).send("POST", "workloads", body=body)
    context.show(views.workloads([read(WorkloadInfo, response)]))  # type: ignore[arg-type]  # a union


@service_command(app, "delete")
def delete(
    context: CommandContext,
    *,
    vm_id: a.VmId,
    workload_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[WORKLOAD]", help="Such as w1.", autocompletion=completion.workload_ids
        ),
    ] = None,
    all_workloads: Annotated[bool, typer.Option("--all", help="All workloads of the VM.")] = False,
) -> None:
    """Delete a workload, or all."""
    if all_workloads == (workload_id is not None):
        raise usage_error("name a workload, or give --all, and not both")
    if workload_id is None:
        context.client.vm(vm_id).delete_workloads()
        context.show(f"VM {vm_id} has no workloads")
    else:
        context.client.vm(vm_id).delete_workload(workload_id)
        context.show(f"workload {workload_id} is deleted")
