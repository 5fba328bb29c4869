"""Virtual time: the clock of a VM, runs of its guest, and the versions of its pages."""

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.accesses import AccessOutcome
from hacdbs_sim.model.base import Action, Model, Query
from hacdbs_sim.model.errors import InvalidArgumentError, TooManyWritesError
from hacdbs_sim.model.kinds import Boolean, Count, Nanoseconds, Page64, SlotId, whole
from hacdbs_sim.model.pages import Bitmap, CountsForm

MAX_THROTTLE_PERCENT: Final = 99
Throttle = Annotated[int, whole(0, MAX_THROTTLE_PERCENT)]
PageVersions = Annotated[NDArray[np.uint32], CountsForm("uint32")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock(Model):
    """A VM's clock, in nanoseconds since it was made."""

    now_ns: Count = 0
    """The time."""
    guest_ns: Count = 0
    """How long the guest really ran."""
    stalled_ns: Count = 0
    """How long its faults have kept it."""
    throttled_ns: Count = 0
    """How long throttling has kept it."""
    debt_ns: Count = 0
    """What its faults still cost it, paid by the next run."""


@dataclass(kw_only=True)
class GuestRun(AccessOutcome):
    """What a run of the guest did: its time, its writes, and what they met.

    Only a backend that simulates the guest runs it, so all counts are known.
    """

    clock: Clock
    """The clock afterwards."""
    newly_dirty: Count = 0
    """Pages that entered a dirty log."""
    translation_faults: Count = 0
    """Faults on an unmapped page."""
    permission_faults: Count = 0
    """Write faults on a leaf without write permission."""
    block_splits: Count = 0
    """Blocks broken by a write fault while logging (lazy splits)."""
    blocks_mapped: Count = 0
    """Block leaves made by a fault."""
    guest_ns: Count
    """How long the guest really ran."""
    stalled_ns: Count
    """How long its faults kept it."""
    throttled_ns: Count
    """How long throttling kept it."""
    slices: Count
    """Pieces that the run was cut into."""
    writes: Count
    """Writes of the workloads."""
    skipped: Count
    """Those of them whose page the slot no longer had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvanceClock(Action[Clock]):
    """Let virtual time pass while the guest is paused."""

    refusals = (InvalidArgumentError,)

    duration_ns: Nanoseconds
    """How long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGuest(Action[GuestRun]):
    """Let the workloads write for some virtual time."""

    refusals = (InvalidArgumentError, TooManyWritesError)

    duration_ns: Nanoseconds
    """How long."""
    throttle_percent: Throttle = 0
    """How much of it the vCPUs are kept from running, as auto-converge does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackVersions(Action[None]):
    """Count one more, or one fewer, who needs the number of the write that last touched each page.

    They are kept while somebody needs them: the end of a migration keeps those of a copy.
    """

    is_internal = True

    enabled: Boolean
    """Whether it is one more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetClock(Query[Clock]):
    """Show the virtual clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPageVersions(Query[PageVersions | None]):
    """Copy the versions of a slot's pages, uint32[n]; None unless they are kept.

    A page's version is the number of the batch of writes that last touched it, counted over the
    machine since tracking began, modulo 2**32; 0 is none.
    """

    slot: SlotId
    """The memslot."""
    first_page: Count = 0
    """The first page, from the slot's start."""
    num_pages: Count | None = None
    """How many; to the slot's end if absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLastVersion(Query[Count | None]):
    """Return the greatest version that a page can have; None unless versions are kept.

    A page read now has the content of its version; it is stale once its version is greater.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class HasFreePages(Query[Boolean]):
    """Return whether the guest has given up any page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFreePages(Query[Bitmap | None]):
    """Return the pages of a slot that the guest gave up and has not written since; None: none."""

    slot: SlotId
    """The memslot."""
    first_page: Page64 = 0
    """The first page, from the slot's start."""
    num_pages: Count | None = None
    """How many; to the slot's end if absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetWrittenPages(Query[Bitmap | None]):
    """Return the pages of a slot that have been written; None: versions were not always tracked."""

    slot: SlotId
    """The memslot."""
    first_page: Page64 = 0
    """The first page, from the slot's start."""
    num_pages: Count | None = None
    """How many; to the slot's end if absent."""
