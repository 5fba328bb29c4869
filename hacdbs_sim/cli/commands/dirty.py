"""`dirty get | peek | clear`: the dirty log of a memslot."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

import httpx
import orjson
import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import CommandContext, service_command, usage_error
from hacdbs_sim.client.request import OCTETS
from hacdbs_sim.client.results import REPORT_HEADER, read, read_dirty_log
from hacdbs_sim.files import BadFileError, read_file
from hacdbs_sim.model import DirtyLog

app = typer.Typer(
    name="dirty", no_args_is_help=True, help="Get, peek and clear the dirty log of a memslot."
)

MAX_BITMAP_BYTES = (1 << 31) // 8
"""KVM_MEM_MAX_NR_PAGES bits: the most pages of a memslot."""


class Form(StrEnum):
    """The form of the pages in a response."""

    RANGES = "ranges"
    BASE64 = "base64"
    SUMMARY = "summary"


FormOption = Annotated[Form, typer.Option("--format", help="The form of the pages.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Write the ioctl's bitmap to this file, and print a summary."
    ),
]


@service_command(app, "get")
def get(
    context: CommandContext,
    *,
    vm_id: a.VmId,
    slot: a.SlotNumber,
    cpu: a.OnCpu = None,
    form: FormOption = Form.RANGES,
    output: Output = None,
) -> None:
    """Get the dirty log (KVM_GET_DIRTY_LOG); without manual protect this clears it."""
    send = partial(context.client.vm(vm_id).slot(slot).send, "POST", "dirty-log", "get")
    _show_log(context, send, {"cpu": cpu}, form, output)


@service_command(app, "peek")
def peek(
    context: CommandContext,
    *,
    vm_id: a.VmId,
    slot: a.SlotNumber,
    form: FormOption = Form.RANGES,
    output: Output = None,
) -> None:
    """Show the dirty log without any side effect."""
    send = partial(context.client.vm(vm_id).slot(slot).send, "GET", "dirty-log")
    _show_log(context, send, {}, form, output)


@service_command(app, "clear")
def clear(
    context: CommandContext,
    *,
    vm_id: a.VmId,
    slot: a.SlotNumber,
    pages: Annotated[
        list[a.PageRange] | None,
        typer.Argument(
            metavar="[PAGES]...", parser=a.pages, help="Pages, counted from the slot's start."
        ),
    ] = None,
    bitmap: Annotated[
        Path | None, typer.Option(help="The ioctl's bitmap, as `get --output` writes it.")
    ] = None,
    first_page: Annotated[
        int | None, a.optional_number("Where the window begins; 0 if absent.")
    ] = None,
    num_pages: Annotated[int | None, a.optional_number("Its length; to the slot's end.")] = None,
    cpu: a.OnCpu = None,
) -> None:
    """Clear pages of the dirty log (KVM_CLEAR_DIRTY_LOG)."""
    if bool(pages) == (bitmap is not None):
        raise usage_error("give pages, or a bitmap with --bitmap, and not both")
    window = {"first_page": first_page, "num_pages": num_pages, "cpu": cpu}
    ranges = {"page_ranges": [list(each) for each in pages or ()]}
    try:
        body = ranges if bitmap is None else read_file(bitmap, MAX_BITMAP_BYTES)
    except BadFileError as bad:
        raise usage_error(f"{bitmap}: {bad}") from None
    handle = context.client.vm(vm_id).slot(slot)
    response = handle.send("POST", "dirty-log", "clear", params=window, body=body)
    context.show(*views.dirty_log(read(DirtyLog, response), None))


def _show_log(
    context: CommandContext,
    send: Callable[..., httpx.Response],
    params: dict[str, int | None],
    form: Form,
    output: Path | None,
) -> None:
    """Get or peek a log: with --output into a file as octets, else in the given form."""
    if output is None:
        response = send(params={**params, "format": form.value})
        body = orjson.loads(response.content)
        parts = views.dirty_log(read(DirtyLog, response), body.get("page_ranges"))
        context.show(*parts, *([body["bitmap"]] if form is Form.BASE64 else []))
        return
    with _new_file(output) as file:  # opened first: a get clears the log
        response = send(params=params, headers={"Accept": OCTETS})
        log = read_dirty_log(response)
        file.write(response.content)
    context.bodies.append(response.headers[REPORT_HEADER].encode())
    context.show(*views.dirty_log(log, None), f"{output} has the bitmap")


@contextmanager
def _new_file(output: Path) -> Generator[BinaryIO]:
    """Open a file that replaces `output` at the end, unless there is an exception."""
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        if output.is_dir():
            raise IsADirectoryError(f"{output} is a directory")
        file = unfinished.open("wb")
    except (OSError, ValueError) as error:
        raise usage_error(f"cannot write {output}: {error}") from None
    try:
        with file:
            yield file
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
