"""Memory of this process that a VM of the host's KVM has as its own."""

import ctypes
import mmap
from typing import Final

PAGE_SIZE: Final = 4096
HUGE_PAGE_SIZE: Final = 2 << 20

_MAP_NORESERVE: Final = 0x4000
"""Not named by `mmap` before Python 3.12: pages that the guest never touches take nothing."""


class GuestMemory:
    """Anonymous memory, by default in pages of 4 KiB.

    Args:
        size_bytes: Its length.
        huge: Whether the kernel is asked for huge pages, or for none.
        skew: How far behind a multiple of `HUGE_PAGE_SIZE` its `address` is.

    Raises:
        OSError: The host has no such memory.
    """

    def __init__(self, size_bytes: int, *, huge: bool = False, skew: int = 0) -> None:
        self.size_bytes = size_bytes
        self._page = HUGE_PAGE_SIZE if huge else PAGE_SIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        whole = -(-(size_bytes + skew) // PAGE_SIZE) * PAGE_SIZE
        self._map = mmap.mmap(-1, whole + HUGE_PAGE_SIZE, flags)
        try:
            self._map.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
        except OSError:
            if huge:
                self._map.close()
                raise  # without huge pages in the kernel there is nothing to keep off
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.address = -(-start // HUGE_PAGE_SIZE) * HUGE_PAGE_SIZE + skew
        self._skip = self.address - start

    def write(self, offset: int, content: bytes) -> None:
        """Put bytes into the memory."""
        self._map[self._skip + offset : self._skip + offset + len(content)] = content

    def discard(self, offset: int) -> None:
        """Return one page of the memory to the kernel (a whole huge one, where asked for)."""
        place = (self.address + offset) // self._page * self._page
        start = place - (self.address - self._skip)
        self._map.madvise(mmap.MADV_DONTNEED, start, min(self._page, len(self._map) - start))

    def close(self) -> None:
        """Return all of the memory to the kernel."""
        self._map.close()
