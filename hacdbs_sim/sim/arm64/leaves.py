"""The stage-2 leaves of one memslot: where they are stored, and how they are mapped and unmapped.

Page leaves are three packed planes of one bit a page (`mapped`, `writable`: S2AP[1], `dbm`), named
for what a 1 means; block leaves are one byte a block (`blocks.py`). A page under a block leaf is 0
in every plane, so "is there a clean-or-dirty page leaf" is one AND with `dbm`. A leaf is WD, WC and
so on by descriptor.py. Rules: docs/kernel.md S.2, B.
"""

from collections.abc import Sequence
from typing import Final

from hacdbs_sim.model import MemslotFlags
from hacdbs_sim.model.units import BLOCK_SIZES_BYTES
from hacdbs_sim.model.words import (
    WordMask,
    Words,
    drop_bits,
    own_words,
    set_bits,
    unset_words,
    words_for,
)
from hacdbs_sim.sim.arm64.blocks import BlockLevel
from hacdbs_sim.sim.arm64.descriptor import READ_ONLY, READ_WRITE, WRITABLE_DIRTY, Leaf
from hacdbs_sim.sim.kvm.region import Region

PLANES = 3

# Plain ints: each use of an enum's member is an attribute lookup.
_MAPPED: Final = int(Leaf.MAPPED)
_WRITABLE: Final = int(Leaf.WRITABLE)
_DBM: Final = int(Leaf.DBM)


class Leaves:
    """Leaves of one memslot.

    Attributes:
        mapped, writable, dbm: uint64[ALIGN(npages, 64) / 64] each, page leaves only; shared zeros
            (`unset_words`) until the first page leaf is made, `writable` again once all have been
            cleaned at once.
        levels: Block leaves, largest block first; only levels that the backing allows.
    """

    __slots__ = (
        "_all_dbm_words",
        "_has_writable",
        "_region",
        "_writable_leaf",
        "dbm",
        "levels",
        "mapped",
        "writable",
    )

    def __init__(self, region: Region, *, dbm: bool) -> None:
        self._region = region
        if region.has(MemslotFlags.READONLY):
            self._writable_leaf: int = READ_ONLY
        else:
            self._writable_leaf = WRITABLE_DIRTY if dbm else READ_WRITE
        self.unmap_all()

    def unmap_all(self) -> None:
        """Unmap everything (kvm_arch_flush_shadow_memslot)."""
        region = self._region
        words = words_for(region.npages)
        self._has_writable = False
        self._all_dbm_words = 0
        self.mapped: Words = unset_words(words)
        self.writable: Words = unset_words(words)
        self.dbm: Words = unset_words(words)
        self.levels = tuple(
            BlockLevel(level, size // region.page_size, region.base_gfn, region.npages)
            for level, size in BLOCK_SIZES_BYTES[region.page_size].items()
            if size <= region.backing
            and (region.guest_phys_addr - region.userspace_addr) % size == 0
        )

    @staticmethod
    def state_bytes(npages: int, page_size: int) -> int:
        """Return the bytes of the planes and block leaves of a slot, at most."""
        blocks = sum(npages * page_size // size for size in BLOCK_SIZES_BYTES[page_size].values())
        return PLANES * words_for(npages) * 8 + blocks

    def unmap(self, pages: WordMask) -> None:
        """Unmap pages, whole blocks included (an MMU notifier)."""
        if self.levels:
            pages = pages.spread()
        for level in self._used_levels():
            level.set(level.mapped_pieces(pages).blocks(), Leaf.NONE)
        self._clear_pages(pages)

    def _used_levels(self) -> Sequence[BlockLevel]:
        return self.levels and [level for level in self.levels if level.present]

    def _planes(self) -> tuple[tuple[int, Words], ...]:
        return (_MAPPED, self.mapped), (_WRITABLE, self.writable), (_DBM, self.dbm)

    def _own_planes(self) -> None:
        """Have planes that can be written, before bits are set in any."""
        if self._has_writable:
            return
        # Zeroed lazily by the system where they are large: 1 TiB costs what is touched of it.
        self.mapped = own_words(self.mapped)
        self.writable = own_words(self.writable)
        self.dbm = own_words(self.dbm)
        self._has_writable = True

    def _set_pages(self, pages: WordMask, leaf: int) -> None:
        self._own_planes()
        for flag, plane in self._planes():
            if leaf & flag:
                set_bits(plane, pages)

    def _clear_pages(self, pages: WordMask) -> None:
        if not self.mapped.flags.writeable:  # no page leaf has been made
            return
        self._all_dbm_words = min(self._all_dbm_words, pages.word_at(0))
        for _, plane in self._planes():
            if plane.flags.writeable:
                drop_bits(plane, pages)
