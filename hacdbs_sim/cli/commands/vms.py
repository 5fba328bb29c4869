"""`list`, `inspect`, `create`, `delete`, `write`: VMs, and writes to their memory."""

from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import completion, views
from hacdbs_sim.cli.command_context import CommandContext, service_command
from hacdbs_sim.cli.documents import fields_of
from hacdbs_sim.client import ConflictError, NotFoundError, ProblemError, Session
from hacdbs_sim.client.request import given
from hacdbs_sim.client.results import read
from hacdbs_sim.model import DEFAULT_SESSION, BackendName, KernelProfile, VmInfo

app = typer.Typer(no_args_is_help=True)


@service_command(app, "list")
def list_vms(
    context: CommandContext,
    *,
    session: a.InSession = "-",
) -> None:
    """List the VMs."""
    context.show(views.vms(context.list_all(context.client.list_vms(session), "vms")))


@service_command(app, "inspect")
def inspect_vm(context: CommandContext, vm_id: a.VmId) -> None:
    """Show a VM: settings, memslots, faults, counters."""
    context.show(*views.vm(context.client.vm(vm_id).get()))


@service_command(app, "create")
def create_vm(
    context: CommandContext,
    *,
    file: Annotated[
        Path | None, typer.Option(help="The body of POST /v1/vms, JSON or YAML; `-`: stdin.")
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(
            help="The session; it is created if it does not exist.",
            autocompletion=completion.session_ids,
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A label.")] = None,
    slot: Annotated[
        list[Any] | None,
        typer.Option(
            parser=a.memslot,
            metavar="NUMBER:BASE:SIZE[:log,readonly,backing=SIZE]",
            help="A memslot, such as 0:0x40000000:2GiB:log; may be repeated.",
        ),
    ] = None,
    vcpus: Annotated[int | None, typer.Option(help="vCPUs.")] = None,
    cpus: Annotated[int | None, typer.Option(help="Host CPUs, each with a HACDBS unit.")] = None,
    page_size: Annotated[
        str | None,
        typer.Option(
            help="The granule: 4KiB, 16KiB or 64KiB.",
            autocompletion=completion.one_of("4KiB", "16KiB", "64KiB"),
        ),
    ] = None,
    ipa_bits: Annotated[int | None, typer.Option(help="Width of the IPA space.")] = None,
    manual_protect: Annotated[
        int | None,
        typer.Option(
            help="KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: 0, 1 or 3.",
            autocompletion=completion.one_of("0", "1", "3"),
        ),
    ] = None,
    eager_split: Annotated[
        str | None, typer.Option(help="KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE, such as 2MiB.")
    ] = None,
    kernel: Annotated[KernelProfile | None, typer.Option(help="Kernel profile.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of faults and workloads.")] = None,
    backend: Annotated[
        BackendName | None,
        typer.Option(help="host_kvm: real KVM of the service's machine; default: simulated."),
    ] = None,
    hacdbs: Annotated[bool, typer.Option(help="Whether the kernel has the hook.")] = True,
    dbm: Annotated[bool, typer.Option(help="Whether writable leaves get DBM.")] = True,
) -> None:
    """Create a VM; options take precedence over the file."""
    absent = {"hacdbs": not hacdbs, "dbm": not dbm}
    fields = given(
        session_id=session,
        name=name,
        memslots=slot or None,
        vcpus=vcpus,
        cpus=cpus,
        page_size=None if page_size is None else a.size(page_size),
        ipa_bits=ipa_bits,
        manual_dirty_log_protect2=manual_protect,
        eager_split_chunk_size=None if eager_split is None else a.size(eager_split),
        kernel=kernel,
        seed=seed,
        features={name: False for name, is_absent in absent.items() if is_absent} or None,
        backend=backend,
    )
    of_file = fields_of(file)
    body = {"session_id": DEFAULT_SESSION, **of_file, **fields}
    context.show(*views.vm(_create(context, body)))


def _create(context: CommandContext, body: dict[str, Any]) -> VmInfo:
    """Create a VM, and its session if that does not exist."""
    send = partial(context.client.send, "POST", "v1", "vms", body=body)
    try:
        return read(VmInfo, send())
    except NotFoundError as refused:
        if refused.code != "no_such_session":
            raise
    created: Session | None = None
    with suppress(ConflictError):  # another client has created it meanwhile
        created = context.client.create_session(body["session_id"])
    try:
        return read(VmInfo, send())
    except ProblemError:
        if created is not None:
            created.delete()
        raise


@service_command(app, "stage2")
def stage2(
    context: CommandContext,
    *,
    vm_id: a.VmId,
    pages: Annotated[
        a.PageRange | None,
        typer.Argument(
            metavar="[PAGES]",
            parser=a.pages,
            help="Guest frames: N, FIRST-LAST or FIRST+COUNT; all by default.",
        ),
    ] = None,
) -> None:
    """Show stage 2: runs of guest frames with leaves of the same level and state."""
    first, count = pages or (0, None)
    runs = context.list_all(context.client.vm(vm_id).get_stage2(first, count), "runs")
    context.show(views.stage2(runs))


@service_command(app, "delete")
def delete_vm(context: CommandContext, vm_id: a.VmId) -> None:
    """Delete a VM."""
    context.client.vm(vm_id).delete()
    context.show(f"VM {vm_id} is gone")


@service_command(app, "write")
def write(
    context: CommandContext,
    *,
    vm_id: a.VmId,
    pages: a.Pages,
    vcpu: Annotated[int | None, a.optional_number("The vCPU that writes; 0 by default.")] = None,
    host: Annotated[bool, typer.Option("--host", help="Write as the host kernel.")] = False,
) -> None:
    """Write guest frames, as a vCPU or as the host kernel."""
    ranges = [(first, num_pages) for first, num_pages in pages]
    vm = context.client.vm(vm_id)
    access = (
        vm.host_write(gfn_ranges=ranges) if host else vm.guest_write(gfn_ranges=ranges, vcpu=vcpu)
    )
    context.show(views.facts("", asdict(access)))
