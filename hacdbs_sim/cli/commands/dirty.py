"""`dirty get | peek | clear`: the dirty log of a memslot."""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, BinaryIO

import httpx
import orjson
import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import Talk, talking, usage_error
from hacdbs_sim.client import DirtyLog
from hacdbs_sim.client.cleaning import CleaningReport
from hacdbs_sim.client.pages import octets_of
from hacdbs_sim.client.results import read

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
@talking
def get(
    talk: Talk,
    *,
    vm_id: a.VmId,
    slot: a.SlotNumber,
    cpu: a.OnCpu = None,
    form: FormOption = Form.RANGES,
    output: Output = None,
) -> None:
    """Take the dirty log (KVM_GET_DIRTY_LOG); without manual protect this clears it."""
    log = talk.client.vm(vm_id).slot(slot)
    if output is not None:
        _write_log(talk, lambda: log.get_dirty_log(cpu=cpu), output)
    else:
        params = {"cpu": cpu, "format": form.value}
        _show_log(talk, log.send("POST", "dirty-log", "get", params=params))


@app.command("peek")
@talking
def peek(
    talk: Talk,
    *,
    vm_id: a.VmId,
    slot: a.SlotNumber,
    form: FormOption = Form.RANGES,
    output: Output = None,
) -> None:
    """Look at the dirty log without any side effect."""
    log = talk.client.vm(vm_id).slot(slot)
    if output is not None:
        _write_log(talk, log.peek_dirty_log, output)
    else:
        _show_log(talk, log.send("GET", "dirty-log", params={"format": form.value}))


@app.command("clear")
@talking
def clear(
    talk: Talk,
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
    log = talk.client.vm(vm_id).slot(slot)
    answer = log.send("POST", "dirty-log", "clear", params=window, body=body)
    talk.show(*views.dirty_log(read(CleaningReport, answer), None))


def _octets(bitmap: Path) -> bytes:
    try:
        return bitmap.read_bytes()
    except OSError as unread:
        raise usage_error(f"cannot read {bitmap}: {unread}") from None


def _show_log(talk: Talk, answer: httpx.Response) -> None:
    ranges = orjson.loads(answer.content).get("page_ranges")
    talk.show(*views.dirty_log(read(CleaningReport, answer), ranges))


def _write_log(talk: Talk, look: Callable[[], DirtyLog], output: Path) -> None:
    """Write a log's octets into a file, and show its report."""
    with _new_file(output) as file:  # first: a log that was taken must have somewhere to go
        log = look()
        file.write(octets_of(log.bitmap))
    talk.answers.append(log.report.model_dump_json(exclude_unset=True).encode())
    talk.show(*views.dirty_log(log.report, None), f"{output} has the bitmap")


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
