"""`fault add | list | rm | types`: arm, list and disarm faults."""

from typing import Annotated

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import completion, views
from hacdbs_sim.cli.command_context import CommandContext, service_command, usage_error
from hacdbs_sim.client.request import given
from hacdbs_sim.model import FaultType, LogOp

app = typer.Typer(name="fault", no_args_is_help=True, help="Arm, list and disarm faults.")


@service_command(app, "add")
def add(
    context: CommandContext,
    *,
    vm_id: a.VmId,
    fault_type: Annotated[
        FaultType, typer.Argument(metavar="TYPE", help="`fault types` describes each.")
    ],
    op: Annotated[LogOp | None, typer.Option(help="Only in calls of `get` or `clear`.")] = None,
    slot: Annotated[
        int | None, a.optional_number("Only in calls for this slot.", completion.slots)
    ] = None,
    cpu: Annotated[
        int | None, a.optional_number("Only in calls on this CPU.", completion.cpus)
    ] = None,
    batch: Annotated[int | None, a.optional_number("In this run of the unit.")] = None,
    index: Annotated[int | None, a.optional_number("At this entry of the run.")] = None,
    gfn: Annotated[int | None, a.optional_number("At the entry of this frame.")] = None,
    after: Annotated[int | None, a.optional_number("Skip this many calls.")] = None,
    every: Annotated[int | None, a.optional_number("Then count each N-th call.")] = None,
    times: Annotated[int | None, a.optional_number("Disarm after this many hits.")] = None,
    probability: Annotated[float | None, typer.Option(help="Probability of a hit, 0 to 1.")] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Arm it without effect.")] = False,
) -> None:
    """Arm a fault."""
    when = given(op=op, slot=slot, cpu=cpu, batch=batch, index=index, gfn=gfn)
    fault = context.client.vm(vm_id).add_fault(
        fault_type,
        when=when or None,
        enabled=False if disabled else None,
        probability=probability,
        after=after,
        every=every,
        times=times,
    )
    context.show(views.faults([fault]))


@service_command(app, "list")
def list_faults(context: CommandContext, vm_id: a.VmId) -> None:
    """List the armed faults of a VM."""
    context.show(views.faults(context.list_all(context.client.vm(vm_id).list_faults(), "faults")))


@service_command(app, "rm")
def remove(
    context: CommandContext,
    *,
    vm_id: a.VmId,
    fault_id: Annotated[
        str | None,
        typer.Argument(metavar="[FAULT]", help="Such as f1.", autocompletion=completion.fault_ids),
    ] = None,
    all_faults: Annotated[bool, typer.Option("--all", help="All faults of the VM.")] = False,
) -> None:
    """Disarm a fault, or all."""
    if all_faults == (fault_id is not None):
        raise usage_error("name a fault, or give --all, and not both")
    if fault_id is None:
        context.client.vm(vm_id).delete_faults()
        context.show(f"VM {vm_id} has no faults")
    else:
        context.client.vm(vm_id).delete_fault(fault_id)
        context.show(f"fault {fault_id} is disarmed")


@service_command(app, "types")
def types(context: CommandContext) -> None:
    """Describe the types of fault."""
    columns: views.Columns = {
        "type": "type",
        "in calls of": lambda info: ", ".join(info.ops),
        "when": lambda info: ", ".join(info.when),
        "what it does": "description",
    }
    context.show(views.fields_table("", columns, context.client.list_fault_types()))
