"""The dirty log: get, clear and peek, and what accelerator and software did for them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from hacdbs_sim.model import errors
from hacdbs_sim.model.base import Action, Model, Query
from hacdbs_sim.model.kinds import Boolean, Count, Gfn, Omitted, Page64, SlotId
from hacdbs_sim.model.pages import LogBitmap, LogPages, flags_of, pages_of


class AcceleratorOutcome(StrEnum):
    """How a call of the hook ended."""

    CLEANED = "cleaned"
    DECLINED = "declined"
    PARTIAL = "partial"


class ErrorReason(StrEnum):
    """Why a run of the unit was given up: ERR_REASON's names, or an interrupt that never came."""

    STRUCTF = "STRUCTF"
    IPAF = "IPAF"
    IPAHACF = "IPAHACF"
    LOST_INTERRUPT = "LOST_INTERRUPT"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryError(Model):
    """Where the unit stopped, and why."""

    reason: ErrorReason
    """ERR_REASON's name, or LOST_INTERRUPT."""
    batch: Count
    """The run, from 0."""
    index: Count
    """The entry in its array."""
    gfn: Gfn | None
    """That entry's frame; null after a whole array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTrace(Model):
    """One run of the unit."""

    size: Count
    """Entries in the array."""
    cleaned: Count
    """Entries cleaned."""
    first_gfn: Gfn
    """The first entry's frame."""
    last_gfn: Gfn
    """The last entry's frame."""
    ttwl: Count
    """The entries' translation table walk level."""


@dataclass(slots=True, kw_only=True)
class AcceleratorReport(Model):
    """What the architecture's hook did before the software (docs/kernel.md S.1)."""

    cpu: Count
    """The host CPU that the call ran on."""
    outcome: AcceleratorOutcome
    """How the call of the hook ended."""
    errno: errors.Errno | None = None
    """What the hook returned where it declined or stopped early; userspace never sees it."""
    batches: Count = 0
    """Runs of the unit."""
    entries: Count = 0
    """Entries in their arrays."""
    cleaned: Count = 0
    """Entries that the unit cleaned."""
    requeued: Count = 0
    """Pages that went back to the log."""
    blocks_split: Count = 0
    """Blocks split before cleaning."""
    error: EntryError | None = None
    """Where the unit stopped."""
    trace: Omitted[tuple[RunTrace, ...]] = None
    """The first runs, in order, where requested."""
    trace_omitted: Omitted[Count] = None
    """How many runs more there were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareReport(Model):
    """What the software loop did (docs/kernel.md S.2)."""

    ran: Boolean = False
    """Whether the loop ran at all (the hook returned an errno)."""
    words: Count = 0
    """Words of the bitmap with something left to clean."""
    pages: Count = 0
    """Pages that it took from the log."""
    write_protected: Count = 0
    """Leaf descriptors whose S2AP[1] went from 1 to 0; a block is one."""
    blocks_split: Count = 0
    """Block leaves that became tables."""


NOT_RUN: Final = SoftwareReport()


@dataclass(slots=True, kw_only=True, repr=False)
class DirtyLog(Model):
    """A dirty log taken, cleared or copied; compares by value.

    A backend that cannot observe how the log is cleaned leaves null what it does not know
    (`unknown_fields` of the VM's capabilities).
    """

    slot: SlotId
    """The memslot."""
    first_page: Count
    """Start of the window, in pages of the slot."""
    num_pages: Count
    """Its length."""
    dirty_count: Count | None
    """Pages returned; for a clear, pages removed from the log."""
    remaining_count: Count | None
    """Pages left in the slot's log."""
    bitmap: LogBitmap = None
    """The pages; a clear returns none."""
    accelerator: AcceleratorReport | None = None
    """What the hardware did; null where the hook was not called (peek, get with manual protect)."""
    software: SoftwareReport | None = NOT_RUN
    """What software cleaning did."""
    flush_tlb: Boolean | None = False
    """Whether the slot's TLB entries were flushed."""

    @override
    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of slot {self.slot}: {self.dirty_count} of {self.num_pages}"
            f" pages dirty, {self.remaining_count} remaining>"
        )

    @property
    def words(self) -> NDArray[np.uint64]:
        """The pages as the ioctl's words; a log without pages has none.

        Raises:
            ValueError: The log came without its pages, as a clear returns it.
        """
        if self.bitmap is None:
            raise ValueError("this log has no pages: it was cleared, or read as a summary")
        return self.bitmap.words

    @property
    def cleaned_by_hardware(self) -> int:
        """Pages that the unit cleaned."""
        return 0 if self.accelerator is None else self.accelerator.cleaned

    @property
    def cleaned_by_software(self) -> int:
        """Pages that software cleaned."""
        return 0 if self.software is None else self.software.pages

    @property
    def requeued(self) -> int:
        """Pages that the unit gave back to the log when it stopped early."""
        return 0 if self.accelerator is None else self.accelerator.requeued

    def mask(self) -> NDArray[np.bool_]:
        """Return one boolean per page of the window."""
        return flags_of(self.words, self.num_pages)

    def pages(self) -> NDArray[np.int64]:
        """Return the pages, counted from the slot's start, ascending: int64[k]."""
        return pages_of(self.words) + self.first_page


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDirtyLog(Action[DirtyLog]):
    """KVM_GET_DIRTY_LOG (docs/kernel.md A.2)."""

    ioctl = "KVM_GET_DIRTY_LOG"
    refusals = (errors.NoDirtyLogError, errors.NoSuchCpuError, errors.CopyToUserError)

    slot: SlotId
    """The memslot."""
    cpu: Count | None = None
    """The host CPU that the call runs on; the online ones in turn if absent."""
    trace: Boolean = False
    """Whether to list the unit's runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearDirtyLog(Action[DirtyLog]):
    """KVM_CLEAR_DIRTY_LOG (docs/kernel.md A.3); a bitmap has ALIGN(num_pages, 64) / 8 bytes."""

    ioctl = "KVM_CLEAR_DIRTY_LOG"
    refusals = (
        errors.NoDirtyLogError,
        errors.NoSuchCpuError,
        errors.WindowOutsideMemslotError,
        errors.InvalidArgumentError,
    )

    slot: SlotId
    """The memslot."""
    pages: LogPages
    first_page: Page64 = 0
    """Start of the window, in pages of the slot."""
    num_pages: Count | None = None
    """Its length; to the slot's end if absent."""
    cpu: Count | None = None
    """The host CPU that the call runs on; the online ones in turn if absent."""
    trace: Boolean = False
    """Whether to list the unit's runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeekDirtyLog(Query[DirtyLog]):
    """Copy a slot's dirty log without any side effect."""

    ioctl = "KVM_GET_DIRTY_LOG"
    refusals = (errors.NoDirtyLogError,)

    slot: SlotId
    """The memslot."""
