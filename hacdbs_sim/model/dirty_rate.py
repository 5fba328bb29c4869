"""The rate at which a guest dirties memory: QMP's calc-dirty-rate and query-dirty-rate."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from hacdbs_sim.model.base import Model, Request
from hacdbs_sim.model.kinds import Boolean, Count, SlotId, whole
from hacdbs_sim.model.migration_reports import Refused

MIN_DURATION_NS: Final = 50_000_000
MAX_DURATION_NS: Final = 60_000_000_000
MIN_SAMPLE_PAGES: Final = 128
MAX_SAMPLE_PAGES: Final = 16_384
DEFAULT_SAMPLE_PAGES: Final = 512
MIN_SAMPLED_BYTES: Final = 128 << 20
"""Smaller slots are not sampled."""

MeasuringTime = Annotated[int, whole(MIN_DURATION_NS, MAX_DURATION_NS)]
SamplePages = Annotated[int, whole(MIN_SAMPLE_PAGES, MAX_SAMPLE_PAGES)]


class DirtyRateMode(StrEnum):
    """QMP's DirtyRateMeasureMode: what is looked at."""

    PAGE_SAMPLING = "page_sampling"
    DIRTY_BITMAP = "dirty_bitmap"
    DIRTY_RING = "dirty_ring"


class DirtyRateStatus(StrEnum):
    """QMP's DirtyRateStatus."""

    UNSTARTED = "unstarted"
    MEASURING = "measuring"
    MEASURED = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalcDirtyRate(Request):
    """A measurement of the dirty rate, in virtual time."""

    duration_ns: MeasuringTime
    """How long the guest is watched."""
    mode: DirtyRateMode = DirtyRateMode.PAGE_SAMPLING
    """What is looked at."""
    sample_pages_per_gib: SamplePages | None = None
    """Pages to sample of each GiB, for `page_sampling`; 512 if absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotDirtyRate(Model):
    """What a measurement found in a slot."""

    slot: SlotId
    """The memslot."""
    npages: Count
    """Its length in pages."""
    sample_pages: Count = 0
    """Pages sampled, counted as often as they were drawn; 0 in other modes."""
    dirty_pages: Count = 0
    """How many of the samples were written, or how many pages gets named."""
    skipped: Boolean = False
    """Whether it does not count: it is too small to be sampled, or did not last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtyRateInfo(Model):
    """The last measurement of a VM's dirty rate."""

    status: DirtyRateStatus
    """Whether there is one, and whether it has ended."""
    mode: DirtyRateMode | None = None
    """What is looked at."""
    duration_ns: Count | None = None
    """How long the guest is to be watched."""
    sample_pages_per_gib: Count = 0
    """Pages sampled of each GiB; 0 in other modes."""
    started_ns: Count | None = None
    """When it began."""
    elapsed_ns: Count | None = None
    """How long it took, once it has ended."""
    dirty_rate: Count | None = None
    """MiB a second, rounded down as QEMU does; null before the end, where the end failed, and where
    no slot could be sampled (QEMU says -1)."""
    sample_pages: Count = 0
    """Pages sampled in all slots."""
    dirty_pages: Count = 0
    """Of all slots, as for each."""
    slots: tuple[SlotDirtyRate, ...] = ()
    """The slots, by number, once it has ended."""
    problem: Refused | None = None
    """Why it has no result."""
