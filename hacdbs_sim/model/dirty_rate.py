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
    """A measurement of the dirty rate, in virtual time.

    Attributes:
        duration_ns: How long the guest is watched.
        mode: What is looked at.
        sample_pages_per_gib: Pages to sample of each GiB, for `page_sampling`; 512 if absent.
    """

    duration_ns: MeasuringTime
    mode: DirtyRateMode = DirtyRateMode.PAGE_SAMPLING
    sample_pages_per_gib: SamplePages | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotDirtyRate(Model):
    """What a measurement found in a slot.

    Attributes:
        slot: The memslot.
        npages: Its length in pages.
        sample_pages: Pages sampled, counted as often as they were drawn; 0 in other modes.
        dirty_pages: How many of the samples were written, or how many pages gets named.
        skipped: Whether it does not count: it is too small to be sampled, or did not last.
    """

    slot: SlotId
    npages: Count
    sample_pages: Count = 0
    dirty_pages: Count = 0
    skipped: Boolean = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DirtyRateInfo(Model):
    """The last measurement of a VM's dirty rate.

    Attributes:
        status: Whether there is one, and whether it has ended.
        mode: What is looked at.
        duration_ns: How long the guest is to be watched.
        sample_pages_per_gib: Pages sampled of each GiB; 0 in other modes.
        started_ns: When it began.
        elapsed_ns: How long it took, once it has ended.
        dirty_rate: MiB a second, rounded down as QEMU does; null before the end, where the end failed,
            and where no slot could be sampled (QEMU says -1).
        sample_pages: Pages sampled in all slots.
        dirty_pages: Of all slots, as for each.
        slots: The slots, by number, once it has ended.
        problem: Why it has no result.
    """

    status: DirtyRateStatus
    mode: DirtyRateMode | None = None
    duration_ns: Count | None = None
    sample_pages_per_gib: Count = 0
    started_ns: Count | None = None
    elapsed_ns: Count | None = None
    dirty_rate: Count | None = None
    sample_pages: Count = 0
    dirty_pages: Count = 0
    slots: tuple[SlotDirtyRate, ...] = ()
    problem: Refused | None = None
