"""Virtual time: the clock of a VM, runs of its guest, and the versions of its pages."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.accesses import AccessOutcome
from hacdbs_sim.model.base import Action, Model, Query
from hacdbs_sim.model.errors import InvalidArgumentError, KvmError, TooManyWritesError
from hacdbs_sim.model.kinds import Boolean, Count, Nanoseconds, Page64, SlotId, whole
from hacdbs_sim.model.pages import Bitmap, CountsForm

MAX_THROTTLE_PERCENT: Final = 99
Throttle = Annotated[int, whole(0, MAX_THROTTLE_PERCENT)]
PageVersions = Annotated[NDArray[np.uint32], CountsForm("uint32")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock(Model):
    """A VM's clock, in nanoseconds since it was made.

    Attributes:
        now_ns: The time.
        guest_ns: How long the guest really ran.
        stalled_ns: How long its faults have kept it.
        throttled_ns: How long throttling has kept it.
        debt_ns: What its faults still cost it, paid by the next run.
    """

    now_ns: Count = 0
    guest_ns: Count = 0
    stalled_ns: Count = 0
    throttled_ns: Count = 0
    debt_ns: Count = 0


@dataclass(kw_only=True)
class GuestRun(AccessOutcome):
    """What a run of the guest did: its time, its writes, and what they met.

    Only a backend that simulates the guest runs it, so all counts are known.

    Attributes:
        clock: The clock afterwards.
        newly_dirty: Pages that entered a dirty log.
        translation_faults: Faults on an unmapped page.
        permission_faults: Write faults on a leaf without write permission.
        block_splits: Blocks broken by a write fault while logging (lazy splits).
        blocks_mapped: Block leaves made by a fault.
        guest_ns: How long the guest really ran.
        stalled_ns: How long its faults kept it.
        throttled_ns: How long throttling kept it.
        slices: Pieces that the run was cut into.
        writes: Writes of the workloads.
        skipped: Those of them whose page the slot no longer had.
    """

    clock: Clock
    newly_dirty: Count = 0
    translation_faults: Count = 0
    permission_faults: Count = 0
    block_splits: Count = 0
    blocks_mapped: Count = 0
    guest_ns: Count
    stalled_ns: Count
    throttled_ns: Count
    slices: Count
    writes: Count
    skipped: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceClock(Action[Clock]):
    """Let virtual time pass while the guest is paused.

    Attributes:
        duration_ns: How long.
    """

    op: ClassVar[str] = "advance_clock"
    refusals: ClassVar[tuple[type[KvmError], ...]] = (InvalidArgumentError,)

    duration_ns: Nanoseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGuest(Action[GuestRun]):
    """Let the workloads write for some virtual time.

    Attributes:
        duration_ns: How long.
        throttle_percent: How much of it the vCPUs are kept from running, as auto-converge does.
    """

    op: ClassVar[str] = "run_guest"
    refusals: ClassVar[tuple[type[KvmError], ...]] = (InvalidArgumentError, TooManyWritesError)

    duration_ns: Nanoseconds
    throttle_percent: Throttle = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackVersions(Action[None]):
    """Count one more, or one fewer, who needs the number of the write that last touched each page.

    They are kept while somebody needs them: the end of a migration keeps those of a copy.

    Attributes:
        enabled: Whether it is one more.
    """

    op: ClassVar[str] = "track_versions"
    is_internal: ClassVar[bool] = True

    enabled: Boolean


@dataclass(frozen=True, slots=True, kw_only=True)
class GetClock(Query[Clock]):
    """Show the virtual clock."""

    op: ClassVar[str] = "get_clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPageVersions(Query[PageVersions | None]):
    """Copy the versions of a slot's pages, uint32[n]; None unless they are kept.

    A page's version is the number of the batch of writes that last touched it, counted over the
    machine since tracking began, modulo 2**32; 0 is none.

    Attributes:
        slot: The memslot.
        first_page: The first page, from the slot's start.
        num_pages: How many; to the slot's end if absent.
    """

    op: ClassVar[str] = "get_page_versions"

    slot: SlotId
    first_page: Count = 0
    num_pages: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLastVersion(Query[Count | None]):
    """Return the greatest version that a page can have; None unless versions are kept.

    A page read now has the content of its version; it is stale once its version is greater.
    """

    op: ClassVar[str] = "get_last_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class HasFreePages(Query[Boolean]):
    """Return whether the guest has given up any page."""

    op: ClassVar[str] = "has_free_pages"


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFreePages(Query[Bitmap | None]):
    """Return the pages of a slot that the guest gave up and has not written since; None: none.

    Attributes:
        slot: The memslot.
        first_page: The first page, from the slot's start.
        num_pages: How many; to the slot's end if absent.
    """

    op: ClassVar[str] = "get_free_pages"

    slot: SlotId
    first_page: Page64 = 0
    num_pages: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetWrittenPages(Query[Bitmap | None]):
    """Return the pages of a slot that have been written; None: versions were not always tracked.

    Attributes:
        slot: The memslot.
        first_page: The first page, from the slot's start.
        num_pages: How many; to the slot's end if absent.
    """

    op: ClassVar[str] = "get_written_pages"

    slot: SlotId
    first_page: Page64 = 0
    num_pages: Count | None = None
