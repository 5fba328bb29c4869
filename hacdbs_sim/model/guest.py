"""Virtual time: the clock of a VM, runs of its guest, and the versions of its pages."""

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from hacdbs_sim.model.accesses import AccessOutcome
from hacdbs_sim.model.base import Action, Model, Query
from hacdbs_sim.model.errors import (
    InvalidArgumentError,
    NoSuchMemslotError,
    TooManyWritesError,
    WindowOutsideMemslotError,
)
from hacdbs_sim.model.kinds import Boolean, Count, Nanoseconds, Page64, SlotId, whole
from hacdbs_sim.model.pages import CountsForm, LogBitmap, equal_arrays

MAX_THROTTLE_PERCENT: Final = 99
Throttle = Annotated[int, whole(0, MAX_THROTTLE_PERCENT)]
PageVersions = Annotated[NDArray[np.uint32], CountsForm("uint32")]

DEFAULT_VERSIONS: Final = 65_536
MAX_VERSIONS: Final = 1 << 20
"""The most page versions of one answer."""

VersionsWindow = Annotated[int, whole(1, MAX_VERSIONS)]


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
    """Track page versions: the number of the batch of writes that last touched each page.

    Migrations with `verify`, and copies, track them while they need them. Tracking that ends forgets
    them.
    """

    enabled: Boolean
    """Whether to track them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedVersions(Action[None]):
    """Count one more, or one fewer, part of the VMM that needs page versions.

    They are tracked while one does: the end of a migration keeps those of a copy.
    """

    is_internal = True

    needed: Boolean
    """Whether it is one more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetClock(Query[Clock]):
    """Show the virtual clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyVersions(Query[PageVersions | None]):
    """Copy the versions of a slot's pages, uint32[n]; None unless they are tracked.

    A page's version is the number of the batch of writes that last touched it, counted over the
    machine since tracking began, modulo 2**32; 0 is none.
    """

    slot: SlotId
    """The memslot."""
    first_page: Count = 0
    """The first page, from the slot's start."""
    num_pages: Count | None = None
    """How many; to the slot's end if absent."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlotVersions(Model):
    """The versions of the pages of a window of a memslot."""

    slot: SlotId
    """The memslot."""
    first_page: Count
    """The window's first page, from the slot's start."""
    num_pages: Count
    """The window's length."""
    last_version: Count | None
    """The greatest version that a page can have; null where none are tracked."""
    is_complete: Boolean
    """Whether all writes since the slot was made have been counted: a page of version 0 has never
    been written."""
    versions: PageVersions | None
    """One number a page: the batch of writes that last touched it, counted over the VM modulo
    2**32; 0: none. Null where none are tracked."""

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SlotVersions):
            return NotImplemented
        return all(
            equal_arrays(getattr(self, name), getattr(other, name)) for name in self.__slots__
        )

    @override
    def __hash__(self) -> int:
        return hash((self.slot, self.first_page, self.num_pages, self.last_version))


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPageVersions(Query[SlotVersions]):
    """Return the versions of a window of a memslot; it is cut at the slot's end."""

    refusals = (NoSuchMemslotError, WindowOutsideMemslotError)

    slot: SlotId
    """The memslot."""
    first_page: Count = 0
    """The first page, from the slot's start."""
    num_pages: VersionsWindow = DEFAULT_VERSIONS
    """The most pages to return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetLastVersion(Query[Count | None]):
    """Return the greatest version that a page can have; None unless versions are tracked.

    A page read now has the content of its version; it is stale once its version is greater.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotPages(Model):
    """Pages of a window of a memslot."""

    slot: SlotId
    """The memslot."""
    first_page: Count
    """Where the window begins, in pages of the slot."""
    num_pages: Count
    """Its length."""
    bitmap: LogBitmap = None
    """The pages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HasFreePages(Query[Boolean]):
    """Return whether the guest has given up any page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFreePages(Query[SlotPages]):
    """Return the pages of a slot that the guest gave up and has not written since; null: none."""

    slot: SlotId
    """The memslot."""
    first_page: Page64 = 0
    """The first page, from the slot's start."""
    num_pages: Count | None = None
    """How many; to the slot's end if absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetWrittenPages(Query[SlotPages]):
    """Return the pages of a slot that have been written; null: versions were not always tracked."""

    slot: SlotId
    """The memslot."""
    first_page: Page64 = 0
    """The first page, from the slot's start."""
    num_pages: Count | None = None
    """How many; to the slot's end if absent."""
