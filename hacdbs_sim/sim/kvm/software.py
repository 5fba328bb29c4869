"""Software cleaning of the dirty log: the loop of the generic get and clear.

Per word, kvm_arch_mmu_enable_log_dirty_pt_masked() write-protects the whole interval from the first
to the last masked page and then, in init-set mode, splits the blocks it touches (docs/kernel.md B.3).
Words are independent but for a block that two of them share, which the first one write-protects
whole, so doing a tile of words at once makes the same leaves and the same counts.
"""

import numpy as np

from hacdbs_sim.model import SoftwareReport
from hacdbs_sim.model.words import WordMask, spans
from hacdbs_sim.sim.kvm.dirty_bitmap import LogWindow
from hacdbs_sim.sim.kvm.hook import DirtyCleaner


def clean_by_software(window: LogWindow, cleaner: DirtyCleaner) -> SoftwareReport:
    """Take what is left in the window, write-protect it, split its blocks."""
    words = pages = write_protected = blocks_split = 0
    for masked in window.masked():
        window.take(masked.mask, masked.total)
        words += int(np.count_nonzero(masked.counts))
        pages += masked.total
        write_protected += cleaner.write_protect(_intervals(masked.mask, window))
        blocks_split += cleaner.split_blocks(masked.mask)
    return SoftwareReport(
        ran=True,
        words=words,
        pages=pages,
        write_protected=write_protected,
        blocks_split=blocks_split,
    )


def _intervals(masked: WordMask, window: LogWindow) -> WordMask:
    """Widen each word to its interval where that can matter.

    While a slot logs, every page under a writable leaf has its bit set; so between the masked pages
    only a page that stays dirty can still lose its write permission.
    """
    stays = window.still_dirty(masked).bits
    if not stays.any():  # a tenth of the time that finding none takes
        return masked
    behind = np.flatnonzero(stays)
    bits = masked.bits.copy()
    bits[behind] = spans(bits[behind])
    return masked.with_bits(bits)
