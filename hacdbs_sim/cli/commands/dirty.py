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
from hacdbs_sim.client.cleaning import CleaningReport
from hacdbs_sim.client.request import OCTETS
from hacdbs_sim.client.results import REPORT_HEADER, read, read_dirty_log

app = typer.Typer(no_args_is_help=True, help="Take, look at and clear the dirty log of a memslot.")


class Form(StrEnum):
    """How pages are answered."""

    RANGES = "ranges"
    BASE64 = "base64"
    SUMMARY = "summary"


FormOption = Annotated[Form, typer.Option("--format", help="How pages are answered.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write the ioctl's bitmap here, and answer a summary."),
]


@app.command("get")
@service_command
def get(
    context: CommandContext,
    *,
    vm_id: a.VmId,
    slot: a.SlotNumber,
    cpu: a.OnCpu = None,
    form: FormOption = Form.RANGES,
    output: Output = None,
) -> None:
    """Take the dirty log (KVM_GET_DIRTY_LOG); without manual protect this clears it."""
    ask = partial(context.client.vm(vm_id).slot(slot).send, "POST", "dirty-log", "get")
    _show_log(context, ask, {"cpu": cpu}, form, output)


@app.command("peek")
@service_command
def peek(
    context: CommandContext,
    *,
    vm_id: a.VmId,
    slot: a.SlotNumber,
    form: FormOption = Form.RANGES,
    output: Output = None,
) -> None:
    """Look at the dirty log without any side effect."""
    ask = partial(context.client.vm(vm_id).slot(slot).send, "GET", "dirty-log")
    _show_log(context, ask, {}, form, output)


@app.command("clear")
@service_command
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
        int | None, a.optional_number("--first-page", text="Where the window begins; 0 if absent.")
    ] = None,
    num_pages: Annotated[
        int | None, a.optional_number("--num-pages", text="Its length; to the slot's end.")
    ] = None,
    cpu: a.OnCpu = None,
) -> None:
    """Clear pages of the dirty log (KVM_CLEAR_DIRTY_LOG)."""
    if bool(pages) == (bitmap is not None):
        raise usage_error("give pages, or a bitmap with --bitmap, and not both")
    window = {"first_page": first_page, "num_pages": num_pages, "cpu": cpu}
    ranges = {"page_ranges": [list(each) for each in pages or ()]}
    body = ranges if bitmap is None else _octets(bitmap)
    log = context.client.vm(vm_id).slot(slot)
    answer = log.send("POST", "dirty-log", "clear", params=window, body=body)
    context.show(*views.dirty_log(read(CleaningReport, answer), None))


def _octets(bitmap: Path) -> bytes:
    try:
        return bitmap.read_bytes()
    except OSError as unread:
        raise usage_error(f"cannot read {bitmap}: {unread}") from None


def _show_log(
    context: CommandContext,
    ask: Callable[..., httpx.Response],
    params: dict[str, int | None],
    form: Form,
    output: Path | None,
) -> None:
    """Take or look at a log: into a file as octets, else in the form asked for."""
    if output is None:
        answer = ask(params={**params, "format": form.value})
        ranges = orjson.loads(answer.content).get("page_ranges")
        context.show(*views.dirty_log(read(CleaningReport, answer), ranges))
        return
    with _new_file(output) as file:  # first: a log that was taken must have somewhere to go
        answer = ask(params=params, headers={"Accept": OCTETS})
        report = read_dirty_log(answer).report
        file.write(answer.content)
    context.bodies.append(answer.headers[REPORT_HEADER].encode())
    context.show(*views.dirty_log(report, None), f"{output} has the bitmap")


@contextmanager
def _new_file(output: Path) -> Generator[BinaryIO]:
    """Open a file that replaces another once it is whole, and not if anything goes wrong."""
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        if output.is_dir():
            raise IsADirectoryError(f"{output} is a directory")
        file = unfinished.open("wb")
    except (OSError, ValueError) as unwritten:
        raise usage_error(f"cannot write {output}: {unwritten}") from None
    try:
        with file:
            yield file
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
