"""The dirty log: what a get, a clear or a peek answers, and which pages a clear names."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from hacdbs_sim.sim.actions import (
    AcceleratorReport,
    Bitmap,
    DirtyLogOutcome,
    PageRanges,
    RunTrace,
)

from ..codec import base64_from_words, range_columns, ranges_from_words, words_from_base64
from .accesses import Ranges
from .base import OneOf, answer, omittable

BASE64_PATTERN = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


class LogForm(StrEnum):
    """How the pages of a dirty log are answered in JSON."""

    RANGES = "ranges"
    BASE64 = "base64"
    SUMMARY = "summary"


class ClearIn(OneOf):
    """Pages to clear: ranges [first, count] counted from the slot's start, or the ioctl's bitmap.

    Bit 0 of the bitmap is `first_page`; it has exactly ALIGN(num_pages, 64) / 8 bytes.
    """

    one_of: ClassVar = ("page_ranges", "bitmap")
    shown: ClassVar = {"page_ranges": [[0, 512], [856, 1]]}
    max_bytes: ClassVar = None

    page_ranges: Ranges = omittable()
    bitmap: Annotated[str, Field(pattern=BASE64_PATTERN)] = omittable(
        description="Base64 of little-endian 64-bit words."
    )

    def to_domain(self) -> Bitmap | PageRanges:
        """Give the pages as arrays."""
        if self.page_ranges is not None:
            return PageRanges(*range_columns(self.page_ranges))
        return Bitmap(words_from_base64(self.bitmap, "bitmap"))


@answer
class EntryErrorOut(TypedDict):
    """Where the unit stopped, and why."""

    reason: Literal["STRUCTF", "IPAF", "IPAHACF", "LOST_INTERRUPT"]
    batch: int
    index: int
    gfn: int | None


@answer
class RunOut(TypedDict):
    """One run of the unit."""

    size: int
    cleaned: int
    first_gfn: int
    last_gfn: int
    ttwl: int


@answer
class AcceleratorOut(TypedDict):
    """What the architecture's hook did before the software."""

    cpu: int
    outcome: Literal["cleaned", "declined", "partial"]
    errno: str | None
    batches: int
    entries: int
    cleaned: int
    requeued: int
    blocks_split: int
    error: EntryErrorOut | None
    trace: NotRequired[list[RunOut]]
    trace_omitted: NotRequired[int]


@answer
class SoftwareOut(TypedDict):
    """What software cleaning did."""

    ran: bool
    words: int
    pages: int
    write_protected: int
    blocks_split: int


@answer
class DirtyLogOut(TypedDict):
    """A dirty log taken, cleared or looked at."""

    slot: int
    first_page: int
    num_pages: int
    dirty_count: int
    remaining_count: int
    page_ranges: NotRequired[list[tuple[int, int]]]
    bitmap: NotRequired[str]
    accelerator: AcceleratorOut | None
    software: SoftwareOut
    flush_tlb: bool


def _run_out(run: RunTrace) -> RunOut:
    return {
        "size": run.size,
        "cleaned": run.cleaned,
        "first_gfn": run.first_gfn,
        "last_gfn": run.last_gfn,
        "ttwl": run.ttwl,
    }


def _accelerator_out(report: AcceleratorReport, *, with_trace: bool) -> AcceleratorOut:
    error = report.error
    out: AcceleratorOut = {
        "cpu": report.cpu,
        "outcome": report.outcome.value,
        "errno": None if report.errno is None else report.errno.value,
        "batches": report.batches,
        "entries": report.entries,
        "cleaned": report.cleaned,
        "requeued": report.requeued,
        "blocks_split": report.blocks_split,
        "error": None
        if error is None
        else {
            "reason": error.reason.value,
            "batch": error.batch,
            "index": error.index,
            "gfn": error.gfn,
        },
    }
    if with_trace and report.trace is not None:
        out["trace"] = [_run_out(run) for run in report.trace]
        out["trace_omitted"] = report.trace_omitted
    return out


def dirty_log_out(
    outcome: DirtyLogOutcome, form: LogForm = LogForm.SUMMARY, *, with_trace: bool = True
) -> DirtyLogOut:
    """Project a dirty log, with its pages in the form asked for (a clear has none)."""
    software = outcome.software
    report = outcome.accelerator
    out: DirtyLogOut = {
        "slot": outcome.slot,
        "first_page": outcome.first_page,
        "num_pages": outcome.num_pages,
        "dirty_count": outcome.dirty_count,
        "remaining_count": outcome.remaining_count,
        "accelerator": None if report is None else _accelerator_out(report, with_trace=with_trace),
        "software": {
            "ran": software.ran,
            "words": software.words,
            "pages": software.pages,
            "write_protected": software.write_protected,
            "blocks_split": software.blocks_split,
        },
        "flush_tlb": outcome.flush_tlb,
    }
    if outcome.bitmap is not None:
        match form:
            case LogForm.RANGES:
                out["page_ranges"] = ranges_from_words(outcome.bitmap)
            case LogForm.BASE64:
                out["bitmap"] = base64_from_words(outcome.bitmap)
            case LogForm.SUMMARY:
                pass
    return out
