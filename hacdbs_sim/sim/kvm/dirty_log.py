"""KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG (virt/kvm/kvm_main.c, docs/kernel.md A.2, A.3).

A call takes the accelerated path first. Whatever the hook leaves in the log (it returns an errno)
the software loop takes. The TLB of the slot is flushed iff anything was cleaned, whichever path.
"""

from typing import NamedTuple

from hacdbs_sim.model import NOT_RUN, AcceleratorOutcome, AcceleratorReport, SoftwareReport
from hacdbs_sim.model.units import PAGES_PER_WORD
from hacdbs_sim.model.words import Words, words_for
from hacdbs_sim.sim.kvm.dirty_bitmap import DirtyBitmap, LogWindow
from hacdbs_sim.sim.kvm.hook import DirtyCleaner
from hacdbs_sim.sim.kvm.software import clean_by_software


class CleanedLog(NamedTuple):
    """What a call that cleans did; `pages` left the log."""

    pages: int
    accelerator: AcceleratorReport
    software: SoftwareReport

    @property
    def flush_tlb(self) -> bool:
        """Whether the slot's TLB entries must go (docs/kernel.md B.6)."""
        return self.pages > 0


def get_dirty_log(log: DirtyBitmap, cleaner: DirtyCleaner) -> tuple[Words, CleanedLog]:
    """Take the whole log without manual protect (kvm_get_dirty_log_protect)."""
    window = LogWindow(log, 0, len(log.words), user=None, is_get=True)
    cleaned = _clean(log, window, cleaner)
    return window.snapshot, cleaned


def clear_dirty_log(
    log: DirtyBitmap,
    first_page: int,
    num_pages: int,
    user: Words | None,
    cleaner: DirtyCleaner,
) -> CleanedLog:
    """Clean the pages whose bits are set both in the log and in the user's bitmap.

    `user` is uint64[k], bit 0 is `first_page`, a multiple of 64; None means every page.
    """
    first_word, num_words = first_page // PAGES_PER_WORD, words_for(num_pages)
    window = LogWindow(log, first_word, num_words, user=user, is_get=False)
    return _clean(log, window, cleaner)


def _clean(log: DirtyBitmap, window: LogWindow, cleaner: DirtyCleaner) -> CleanedLog:
    before = log.count
    accelerator = cleaner.dirty_log_clear(window)
    # Any errno sends generic code to its own loop over whatever is still set (docs/kernel.md C.3).
    software = (
        NOT_RUN
        if accelerator.outcome is AcceleratorOutcome.CLEANED
        else clean_by_software(window, cleaner)
    )
    return CleanedLog(before - log.count, accelerator, software)
