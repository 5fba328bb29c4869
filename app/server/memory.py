"""How the C library's allocator keeps memory that was freed: less than it does by itself.

glibc serves large blocks from heaps once one such block was freed (its mmap threshold grows up to 32 MiB), and
gives each thread heaps of its own: after bodies and answers of megabytes, these hold what nobody uses. With a
fixed threshold large blocks are mapped, and unmapped when they are freed. What small blocks leave in the
heaps is returned now and then. Other C libraries are left alone.
"""

import asyncio
import ctypes
import os
from pathlib import Path
from typing import Final

MMAP_THRESHOLD_BYTES: Final = 256 << 10
TRIM_THRESHOLD_BYTES: Final = 256 << 10
ARENAS: Final = 2

GIVE_BACK_SECONDS: Final = 10.0
GROWTH_BYTES: Final = 16 << 20
"""Nothing is returned while the process has grown by less than this since its start."""

_OPTIONS: Final = (
    (-1, TRIM_THRESHOLD_BYTES),  # M_TRIM_THRESHOLD of malloc.h
    (-3, MMAP_THRESHOLD_BYTES),  # M_MMAP_THRESHOLD
    (-8, ARENAS),  # M_ARENA_MAX
)
_STATM: Final = Path("/proc/self/statm")


def bound_allocator() -> None:
    """Limit what the allocator keeps; call before other threads start."""
    if (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        for option, value in _OPTIONS:
            mallopt(option, value)


def resident_bytes() -> int:
    """Return how much memory of this process is resident; 0 where the system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


async def give_back() -> None:
    """Return free memory to the system every few seconds, in a thread, as long as the service runs."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    start_bytes = resident_bytes()
    while trim is not None:
        await asyncio.sleep(GIVE_BACK_SECONDS)
        if resident_bytes() > start_bytes + GROWTH_BYTES:
            await asyncio.to_thread(trim, 0)
