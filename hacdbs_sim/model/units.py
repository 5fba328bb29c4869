"""Sizes of pages, blocks and arrays, and the bounds of a VM.

Stage-2 leaves of a granule, with 8-byte descriptors and 9, 11 or 13 bits resolved per level (Arm
ARM DDI 0487, D8.2; docs/kernel.md A.6): 4 KiB pages have blocks of 2 MiB (level 2), 1 GiB (level 1),
16 KiB pages 32 MiB, 64 KiB pages 512 MiB (both level 2). Pages are leaves of level 3.
"""

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

PAGE_LEVEL: Final = 3
"""The lookup level of a page leaf."""

PAGES_PER_WORD: Final = 64
"""Pages in one 64-bit word of a dirty bitmap."""

BLOCK_SIZES_BYTES: Final[dict[int, dict[int, int]]] = {
    4 * KIB: {1: GIB, 2: 2 * MIB},
    16 * KIB: {2: 32 * MIB},
    64 * KIB: {2: 512 * MIB},
}
"""Page size to {lookup level: block size}, largest block first."""

PAGE_SIZES_BYTES: Final = tuple(BLOCK_SIZES_BYTES)

MIN_IPA_BITS: Final = 32
MAX_IPA_BITS: Final = 48
MAX_VCPUS: Final = 512
MAX_CPUS: Final = 512


def leaf_sizes_bytes(page_size: int) -> tuple[int, ...]:
    """Return every leaf size of a granule, in bytes, ascending; the page size is the first."""
    return (page_size, *sorted(BLOCK_SIZES_BYTES[page_size].values()))


def entries_per_array(page_size: int) -> int:
    """Return n, the HDBSS entries in one page: what one run of the unit takes (docs/kernel.md C.4)."""
    return page_size // 8
