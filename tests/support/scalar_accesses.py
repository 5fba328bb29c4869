"""Guest and host accesses, one page at a time in ascending order (docs/kernel.md S.2)."""

from collections import Counter
from dataclasses import asdict
from typing import TypeAlias

import numpy as np

from hacdbs_sim.model import (
    AccessOutcome,
    Gfns,
    GuestRead,
    GuestWrite,
    GuestWriteMemory,
    HintFree,
    HostDiscard,
    HostUnmap,
    HostWrite,
    LeafState,
    PageRanges,
    PageSet,
    VmConfig,
)
from tests.support.scalar_memslots import ScalarMemslot, ScalarMemslots
from tests.support.scalar_refusal import Refused
from tests.support.scalar_stage2 import WITHOUT_WRITE, ScalarStage2

Access: TypeAlias = GuestWrite | GuestRead | HostWrite | HostUnmap | HostDiscard | HintFree


def each_page(pages: PageSet) -> list[int]:
    """Return every page that a batch names, repeats too."""
    if isinstance(pages, Gfns):
        return [int(gfn) for gfn in pages.gfns]
    named: list[int] = []
    for first, count in zip(pages.first.tolist(), pages.count.tolist(), strict=True):
        named.extend(range(first, first + count))
    return named


def written(action: GuestWriteMemory, page_size: int) -> GuestWrite:
    """Return the write of the pages that ranges of bytes touch."""
    first = [gpa // page_size for gpa, _ in action.gpa_ranges]
    end = [-(-(gpa + length) // page_size) for gpa, length in action.gpa_ranges]
    count = [after - before for before, after in zip(first, end, strict=True)]
    pages = PageRanges(np.array(first, np.uint64), np.array(count, np.uint64))
    return GuestWrite(pages=pages, vcpu=action.vcpu)


def last_page(pages: PageSet) -> int:
    """Return the highest page that a batch names, -1 of none, without listing a long range."""
    if isinstance(pages, Gfns):
        return max(pages.gfns.tolist(), default=-1)
    pairs = zip(pages.first.tolist(), pages.count.tolist(), strict=True)
    return max((first + count - 1 for first, count in pairs), default=-1)


class ScalarAccesses:
    """Accesses to the slots and the stage 2 of one VM."""

    def __init__(self, config: VmConfig, memslots: ScalarMemslots, stage2: ScalarStage2) -> None:
        self.config = config
        self.memslots = memslots
        self.stage2 = stage2
        self.counts: Counter[str] = Counter()

    def perform(self, action: Access) -> AccessOutcome:
        if isinstance(action, GuestWrite | GuestRead) and not 0 <= action.vcpu < self.config.vcpus:
            raise Refused("no_such_vcpu")
        if last_page(action.pages) >= (1 << self.config.ipa_bits) // self.config.page_size:
            raise Refused("gfn_beyond_ipa_space")
        named = Counter(each_page(action.pages))
        self.counts = Counter(asdict(AccessOutcome()))
        self.counts["pages"] = named.total()
        if isinstance(action, HostUnmap | HostDiscard | HintFree):
            for gfn in () if isinstance(action, HintFree) else named:
                self.stage2.unmap(gfn, gfn + 1)
            return AccessOutcome(**self.counts)
        slot: ScalarMemslot | None = None
        for gfn in sorted(named):
            if slot is None or not slot.base_gfn <= gfn < slot.end_gfn:
                slot = self.memslots.at(gfn)
            if slot is None or (slot.is_readonly and not isinstance(action, GuestRead)):
                self.counts["mmio_exits"] += named[gfn]
            elif isinstance(action, HostWrite):
                self.counts["newly_dirty"] += slot.mark(gfn)
            elif isinstance(action, GuestWrite):
                self._guest_write(slot, gfn)
            else:
                self._guest_read(slot, gfn)
        return AccessOutcome(**self.counts)

    def _guest_read(self, slot: ScalarMemslot, gfn: int) -> None:
        if self.stage2.leaf_of(gfn) is not None:
            return
        self.counts["translation_faults"] += 1
        if slot.is_logging:
            self.stage2.map((3, gfn), LeafState.READ_ONLY)
        else:
            self._map_largest(slot, gfn)

    def _guest_write(self, slot: ScalarMemslot, gfn: int) -> None:
        leaf = self.stage2.leaf_of(gfn)
        if leaf is None:
            self.counts["translation_faults"] += 1
        elif self.stage2.leaves[leaf] in WITHOUT_WRITE:
            return
        else:
            self.counts["permission_faults"] += 1
        is_block = leaf is not None and leaf[0] != 3
        if slot.is_logging:
            if is_block:
                # The lazy split: a table takes the block's place with this one page in it.
                self.counts["block_splits"] += 1
                self.stage2.unmap(gfn, gfn + 1)
            self.stage2.map((3, gfn), self.stage2.writable)
            self.counts["newly_dirty"] += slot.mark(gfn)
        elif leaf is not None and is_block:
            self.stage2.leaves[leaf] = self.stage2.writable
        else:
            self._map_largest(slot, gfn)

    def _map_largest(self, slot: ScalarMemslot, gfn: int) -> None:
        leaf = slot.largest_leaf(gfn, self.stage2)
        state = LeafState.READ_ONLY if slot.is_readonly else self.stage2.writable
        self.stage2.map(leaf, state)
        if leaf[0] != 3:
            self.counts["blocks_mapped"] += 1
