"""`dirty get | peek | clear`: the dirty log of a memslot."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import httpx
import orjson
import typer

from hacdbs_sim.cli import arguments as a
from hacdbs_sim.cli import views
from hacdbs_sim.cli.command_context import Talk, talking, usage_error
from hacdbs_sim.client import DirtyLog
from hacdbs_sim.client.call import OCTETS, Call
from hacdbs_sim.client.cleaning import CleaningReport
from hacdbs_sim.client.operations import memory as of_memory
from hacdbs_sim.client.pages import octets_of
from hacdbs_sim.client.specs import SlotRef

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
    _show_log(talk, of_memory.get_dirty_log(SlotRef(vm_id, slot), cpu=cpu), form, output)


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
    _show_log(talk, of_memory.peek_dirty_log(SlotRef(vm_id, slot)), form, output)


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
        int | None, a.optional_number("--first-page", told="Where the window begins; 0 if absent.")
    ] = None,
    num_pages: Annotated[
        int | None, a.optional_number("--num-pages", told="Its length; to the slot's end.")
    ] = None,
    cpu: a.OnCpu = None,
) -> None:
    """Clear pages of the dirty log (KVM_CLEAR_DIRTY_LOG)."""
    if bool(pages) == (bitmap is not None):
        raise usage_error("give pages, or a bitmap with --bitmap, and not both")
    window = {"first_page": first_page, "num_pages": num_pages, "cpu": cpu}
    ref = SlotRef(vm_id, slot)
    talk.show(*views.dirty_log(talk.ask(_clearing(ref, pages or [], bitmap, window)), None))


def _clearing(
    ref: SlotRef, pages: list[a.PageRange], bitmap: Path | None, window: dict[str, int | None]
) -> Call[CleaningReport]:
    # Described with a body of no pages, so that the body can be what was given: ranges stay ranges
    call = of_memory.clear_dirty_log(ref, [])
    if bitmap is None:
        content = orjson.dumps({"page_ranges": [list(each) for each in pages]})
        return replace(call, content=content, params=window)
    try:
        octets = bitmap.read_bytes()
    except OSError as unread:
        raise usage_error(f"cannot read {bitmap}: {unread}") from None
    return replace(call.with_headers({"Content-Type": OCTETS}), content=octets, params=window)


def _show_log(talk: Talk, call: Call[DirtyLog], form: Form, output: Path | None) -> None:
    """Take or look at a log; into a file as octets, else in the form asked for."""
    if output is not None:
        with _new_file(output) as file:  # first: a log that was taken must have somewhere to go
            log = talk.ask(call)
            file.write(octets_of(log.bitmap))
        talk.answered = log.report.model_dump_json(exclude_unset=True).encode()
        talk.show(*views.dirty_log(log.report, None), f"{output} has the bitmap")
        return
    headers = {name: value for name, value in call.headers.items() if name != "Accept"}
    params = {**call.params, "format": form.value}
    body = talk.ask(Call(call.operation_id, call.method, call.path, _object, params, headers))
    talk.show(*views.dirty_log(CleaningReport.model_validate(body), body.get("page_ranges")))


def _object(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = orjson.loads(answer.content)
    return body


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
