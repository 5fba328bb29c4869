"""Real KVM as the other side: a slot of a real guest, driven by the driver of the backend `host_kvm`."""

import struct
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.rows import SkippedError
from hacdbs_sim.host_kvm import guest, why_unusable
from hacdbs_sim.host_kvm.device import CAP_MANUAL_DIRTY_LOG_PROTECT2, MANUAL_CAPS, Kvm, KvmVm
from hacdbs_sim.host_kvm.memory import PAGE_SIZE, GuestMemory
from hacdbs_sim.model.units import GIB, MIB

BASE: Final = 8 * GIB
"""Where the slot lies: above the backend's guest, whose own tables end here."""
_MAX_GIB: Final = 8

_LOG_DIRTY_PAGES: Final = 1
_SLOT, _TABLES_SLOT = 0, 1
_TABLES: Final = guest.BASE + 64 * MIB
_PDPT: Final = 0x1000
_FLAGS: Final = 0b111  # present, writable, user
_LARGE: Final = 0b1110_0000  # accessed, dirty, 2 MiB


class RealSlot:
    """A logging slot of a real VM, and a guest that writes its pages.

    The memory behind it is resident and in pages of 4 KiB, so a write fault costs what KVM costs and
    not what the host's allocator does.
    """

    def __init__(self, size_bytes: int, stack: ExitStack) -> None:
        kvm = stack.enter_context(closing(Kvm()))
        self._memory = stack.enter_context(closing(GuestMemory(size_bytes)))
        self._size_bytes = size_bytes
        self._vm = stack.enter_context(closing(KvmVm(kvm)))
        self._tables = stack.enter_context(closing(self._map_above()))
        self._vm.enable_cap(CAP_MANUAL_DIRTY_LOG_PROTECT2, MANUAL_CAPS & 1)
        self._set(size_bytes)

    def _map_above(self) -> GuestMemory:
        """Extend the guest's page tables by 8 GiB, mapped one to one as the first ones are."""
        tables = GuestMemory(_MAX_GIB * PAGE_SIZE)
        pages = BASE + np.arange(512 * _MAX_GIB, dtype=np.uint64) * np.uint64(2 * MIB)
        tables.write(0, (pages | np.uint64(_FLAGS | _LARGE)).tobytes())
        self._vm.set_user_memory_region(
            _TABLES_SLOT, 0, _TABLES, _MAX_GIB * PAGE_SIZE, tables.address
        )
        entries = [_TABLES + PAGE_SIZE * number | _FLAGS for number in range(_MAX_GIB)]
        self._vm.control.write(_PDPT + 8 * (BASE // GIB), struct.pack(f"={_MAX_GIB}Q", *entries))
        return tables

    def _set(self, size_bytes: int) -> None:
        self._vm.set_user_memory_region(
            _SLOT, _LOG_DIRTY_PAGES, BASE, size_bytes, self._memory.address
        )

    def renew(self) -> None:
        """Delete the slot and create it anew: nothing is mapped, the memory behind it stays."""
        self._set(0)
        self._set(self._size_bytes)

    def write(self, pages: NDArray[np.uint64]) -> None:
        """Have the guest write a byte to each of these pages of the slot, in turn."""
        exits = self._vm.touch(guest.Touch.WRITE, pages + np.uint64(BASE // PAGE_SIZE))
        assert exits == 0, "every page lies in the slot"

    def clear(self, words: NDArray[np.uint64]) -> None:
        """KVM_CLEAR_DIRTY_LOG of the whole slot."""
        self._vm.clear_dirty_log(_SLOT, 0, self._size_bytes // PAGE_SIZE, words)

    def dirty(self) -> int:
        """KVM_GET_DIRTY_LOG; return how many pages are dirty."""
        words = np.zeros(self._size_bytes // PAGE_SIZE // 64, np.uint64)
        self._vm.get_dirty_log(_SLOT, words)
        return int(np.bitwise_count(words).sum(dtype=np.int64))


@contextmanager
def real_slot(size_bytes: int) -> Generator[RealSlot]:
    """Make a slot of a real VM.

    Raises:
        SkippedError: /dev/kvm cannot be used here.
    """
    if (why := why_unusable()) is not None:
        raise SkippedError(why)
    with ExitStack() as stack:
        yield RealSlot(size_bytes, stack)
