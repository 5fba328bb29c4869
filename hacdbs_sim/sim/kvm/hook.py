"""The hook that generic code offers an architecture before it cleans by software.

`kvm_arch_dirty_log_clear()` of the patch series (docs/kernel.md C.3). A hook that declines, or stops
early, returns a report; the errno in it is a signal to the generic code and never reaches userspace.
"""

from typing import Protocol

from hacdbs_sim.model import AcceleratorReport
from hacdbs_sim.model.words import WordMask
from hacdbs_sim.sim.kvm.dirty_bitmap import LogWindow


class DirtyCleaner(Protocol):
    """What generic code calls of an architecture during one get or clear of one slot."""

    def dirty_log_clear(self, window: LogWindow) -> AcceleratorReport:
        """Clean the window by an accelerator, or return why not (kvm_arch_dirty_log_clear).

        Whatever it did not clean is in the log when it returns.
        """
        ...

    def write_protect(self, pages: WordMask) -> int:
        """Clear S2AP[1] of the leaves of pages, whole blocks included; count the descriptors."""
        ...

    def split_blocks(self, pages: WordMask) -> int:
        """Split the blocks of pages if this VM splits lazily by get and clear; count them."""
        ...
