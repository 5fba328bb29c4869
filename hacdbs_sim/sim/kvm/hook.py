"""The hook that generic code offers an architecture before it cleans by software.

`kvm_arch_dirty_log_clear()` of the patch series (domain.md C.3). A hook that declines, or stops
early, answers a value; the errno in it is a signal to the generic code and never reaches userspace.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from hacdbs_sim.model.errors import Errno
from hacdbs_sim.model.words import WordMask
from hacdbs_sim.sim.kvm.dirty_bitmap import LogWindow


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


@dataclass(frozen=True, slots=True)
class EntryError:
    """Where the unit stopped: run `batch` (from 0), entry `index` in it, and that entry's gfn.

    `gfn` is None where no entry is at `index`: a lost interrupt after a whole array.
    """

    reason: ErrorReason
    batch: int
    index: int
    gfn: int | None


@dataclass(frozen=True, slots=True)
class RunTrace:
    """One run: entries in the array, entries cleaned, first and last entry's gfn, their TTWL."""

    size: int
    cleaned: int
    first_gfn: int
    last_gfn: int
    ttwl: int


class AcceleratorReport(NamedTuple):
    """The figures of one call of the hook (design.md 3.1, 4)."""

    cpu: int
    outcome: AcceleratorOutcome
    errno: Errno | None = None
    batches: int = 0
    entries: int = 0
    cleaned: int = 0
    requeued: int = 0
    blocks_split: int = 0
    error: EntryError | None = None
    trace: tuple[RunTrace, ...] | None = None
    trace_omitted: int = 0


class DirtyCleaner(Protocol):
    """What generic code asks of an architecture during one get or clear of one slot."""

    def dirty_log_clear(self, window: LogWindow) -> AcceleratorReport:
        """Clean the window by an accelerator, or say why not (kvm_arch_dirty_log_clear).

        Whatever it did not clean is in the log when it returns.
        """
        ...

    def write_protect(self, pages: WordMask) -> int:
        """Clear S2AP[1] of the leaves of pages, whole blocks included; count the descriptors."""
        ...

    def split_blocks(self, pages: WordMask) -> int:
        """Split the blocks of pages if this VM splits lazily by get and clear; count them."""
        ...
