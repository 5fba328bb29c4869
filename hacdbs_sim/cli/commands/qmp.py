"""`qmp`: a source and a destination of migrations that speak QEMU's protocol."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import Token, Url, exit_on_client_error, usage_error
from hacdbs_sim.cli.documents import fields_of
from hacdbs_sim.client import AsyncClient, AsyncVm, NotFoundError
from hacdbs_sim.client.connecting import url_of_environment
from hacdbs_sim.client.results import FetchedVm, read
from hacdbs_sim.model import DEFAULT_SESSION, CreateVm
from hacdbs_sim.qmp import Address, Endpoint, LinkOptions, QmpError, Side, parse_uri, serve
from hacdbs_sim.wire import InvalidRequestError, reader_of

app = typer.Typer(no_args_is_help=True)

DEFAULT_MEMSLOT: Final = "0:0x40000000:128MiB"
ALL_PAGES: Final = 1 << 52


def _monitor(text: str) -> Address:
    try:
        return parse_uri(text)
    except QmpError as error:
        raise usage_error(f"a monitor is unix:PATH or tcp:HOST:PORT: {error}") from None


@app.command("qmp")
def qmp(
    *,
    unix: Annotated[
        str | None, typer.Option(metavar="PATH", help="Listen on this unix socket.")
    ] = None,
    tcp: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Listen there; port 0: any free one.")
    ] = None,
    incoming: Annotated[
        bool, typer.Option("--incoming", help="Be a destination, which waits for migrate-incoming.")
    ] = False,
    destination: Annotated[
        str | None,
        typer.Option(
            metavar="unix:PATH|tcp:HOST:PORT",
            help="Serve a destination there too, beside the source.",
        ),
    ] = None,
    vm: Annotated[
        str | None,
        typer.Option("--vm", metavar="VM", help="The source's guest, a VM of the service."),
    ] = None,
    session: Annotated[
        str, typer.Option(help="Where the source's VM is created, without --vm.")
    ] = DEFAULT_SESSION,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Create that VM from the body of POST /v1/vms, JSON or YAML; `-`: stdin."
        ),
    ] = None,
    slot: Annotated[
        list[Any] | None,
        typer.Option(
            parser=a.memslot,
            metavar="NUMBER:BASE:SIZE",
            help=f"Its memslot, {DEFAULT_MEMSLOT} by default, or what may arrive; may be repeated.",
        ),
    ] = None,
    written: Annotated[
        int | None,
        typer.Option(
            parser=a.bandwidth, help="How much of each memslot is not zero, such as 32MiB; all."
        ),
    ] = None,
    writes_per_second: Annotated[
        int | None, typer.Option(help="A workload: writes to random pages of the first memslot.")
    ] = None,
    name: Annotated[str, typer.Option(help="As query-name returns it.")] = "",
    link_bandwidth: Annotated[
        int | None, typer.Option(parser=a.bandwidth, help="The link's speed, such as 4MiB.")
    ] = None,
    latency: Annotated[
        int | None, typer.Option(parser=a.duration, help="The link's latency, one way.")
    ] = None,
    pace: Annotated[
        float,
        typer.Option(min=0, max=100, help="Real seconds that a virtual second takes; 0: at once."),
    ] = 1.0,
    url: Url = None,
    token: Token = None,
) -> None:
    """Speak QMP, so that a harness for QEMU migrates a simulated guest.

    Without --url, HACDBS_URL and --vm the service runs in this process.
    """
    if (unix is None) == (tcp is None):
        raise usage_error("give --unix or --tcp, and not both")
    if incoming and (destination is not None or vm is not None or file is not None):
        raise usage_error("--incoming goes without --destination, --vm and --file")
    is_new = file is not None or slot or written is not None or writes_per_second is not None
    if vm is not None and is_new:
        raise usage_error(
            "--vm names a VM that there is: it goes without --file, --slot and others"
        )
    address = Address(path=unix) if unix is not None else _monitor(f"tcp:{tcp}")
    second = None if destination is None else _monitor(destination)
    is_in_process = url is None and vm is None
    link = LinkOptions(link_bandwidth, latency or 0, pace)
    body = _body(file, session, slot or [], writes_per_second)
    _check_written(written, body["memslots"])

    async def live() -> int:
        client = AsyncClient.in_process() if is_in_process else AsyncClient(url, token=token)
        async with client:
            if incoming:
                waiting = Endpoint(
                    client, None, memslots=_expected(slot or []), name=name, link=link
                )
                return await serve([Side("destination", waiting, address)], _announce)
            guest = client.vm(vm) if vm is not None else await _create(client, body, written)
            try:
                await guest.get()  # it exists
                sides = [Side("source", Endpoint(client, guest, name=name, link=link), address)]
                if second is not None:
                    sides.append(Side("destination", Endpoint(client, None, link=link), second))
                return await serve(sides, _announce)
            finally:
                if vm is None:
                    with suppress(NotFoundError):  # a client of the service has deleted it
                        await guest.delete()

    with exit_on_client_error(url or url_of_environment(), as_json=False):
        try:
            status = asyncio.run(live())
        except QmpError as error:
            raise usage_error(str(error)) from None
    if status:
        raise typer.Exit(status)


def _announce(role: str, address: Address) -> None:
    typer.echo(f"QMP of the {role}: {address}")


def _expected(slots: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return the numbers and sizes of memslots."""
    try:
        spec = reader_of(CreateVm)(orjson.dumps({"memslots": slots}))
    except InvalidRequestError as refused:
        raise usage_error(
            "; ".join(f"{each.pointer}: {each.detail}" for each in refused.errors)
        ) from None
    return [(each.slot, each.memory_size) for each in spec.memslots]


def _check_written(written: int | None, slots: list[dict[str, Any]]) -> None:
    if written is None:
        return
    largest = max(size for _, size in _expected(slots))
    if written > largest:
        most = f"{views.size(largest)}, the size of the largest memslot"
        raise usage_error(f"--written must be at most {most}")


def _body(
    file: Path | None,
    session: str,
    slots: list[dict[str, Any]],
    writes_per_second: int | None,
) -> dict[str, Any]:
    """Return the body of the VM to create."""
    body = fields_of(file)
    memslots = slots or body.get("memslots") or [a.memslot(DEFAULT_MEMSLOT)]
    workloads = body.get("workloads", [])
    if writes_per_second is not None:
        random_pages = {
            "kind": "uniform",
            "slot": memslots[0]["slot"],
            "writes_per_second": writes_per_second,
        }
        workloads = [*workloads, random_pages]
    return {
        "session_id": session,
        "manual_dirty_log_protect2": 3,
        **body,
        "memslots": memslots,
        "workloads": workloads,
        "track_versions": True,
    }


async def _create(client: AsyncClient, body: dict[str, Any], written: int | None) -> AsyncVm:
    """Create the source's VM; its memory has content, or as much of each memslot as is written."""
    made = read(FetchedVm, await client.send("POST", "v1", "vms", body=body))
    vm = client.vm(made.vm_id)
    most = ALL_PAGES if written is None else written // made.page_size
    if ranges := [(each.base_gfn, min(each.npages, most)) for each in made.memslots if most]:
        await vm.host_write(gfn_ranges=ranges)
    return vm
