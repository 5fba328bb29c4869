"""Guest and host accesses to batches of guest frames.

A batch behaves as if its distinct pages were accessed one at a time in ascending order, so the
order in which a caller lists them never shows. Pages are found in their slots here and faulted in
by the architecture (user_mem_abort, domain.md B.4); marking the log is generic (mark_page_dirty).
"""

from dataclasses import dataclass, replace

import numpy as np

from app.sim.base.errors import GfnBeyondIpaSpaceError
from app.sim.base.pages import Gfns, PageRanges, PageSet
from app.sim.base.words import mask_of
from app.sim.kvm.memslots import Memslot, Memslots
from app.sim.kvm.mmu import Faults
from app.sim.kvm.region import MemslotFlags


@dataclass(frozen=True, slots=True)
class AccessOutcome:
    """What a batch of accesses did (design.md 3.2, 4). Guest faults are counted by kind.

    Attributes:
        pages: Accesses, repeats counted.
        newly_dirty: Pages that entered a dirty log.
        translation_faults: Faults on an unmapped page.
        permission_faults: Write faults on a leaf without write permission.
        mmio_exits: Accesses that no slot takes, repeats counted: outside every slot, or a write to
            a READONLY one. A host unmap has none.
        block_splits: Blocks broken by a write fault while logging (lazy splits).
        blocks_mapped: Block leaves made by a fault.
    """

    pages: int = 0
    newly_dirty: int = 0
    translation_faults: int = 0
    permission_faults: int = 0
    mmio_exits: int = 0
    block_splits: int = 0
    blocks_mapped: int = 0

    def plus(self, faults: Faults, newly_dirty: int) -> "AccessOutcome":
        """Add what happened in one more slot."""
        return replace(
            self,
            newly_dirty=self.newly_dirty + newly_dirty,
            translation_faults=self.translation_faults + faults.translation,
            permission_faults=self.permission_faults + faults.permission,
            block_splits=self.block_splits + faults.block_splits,
            blocks_mapped=self.blocks_mapped + faults.blocks_mapped,
        )


def check_gfns(pages: PageSet, end_gfn: int) -> None:
    """Refuse a batch that names a frame at or past `end_gfn`, the end of the IPA space.

    Raises:
        GfnBeyondIpaSpaceError: names the field and the frame.
    """
    if isinstance(pages, Gfns):
        if len(pages.gfns) and int(pages.gfns.max()) >= end_gfn:
            raise _beyond("gfns", int(pages.gfns.max()), end_gfn)
        return
    if not len(pages.first):
        return
    # In this order first + count cannot wrap.
    if int(pages.first.max()) >= end_gfn:
        raise _beyond("gfn_ranges", int(pages.first.max()), end_gfn)
    if int(pages.count.max()) > end_gfn or int((pages.first + pages.count).max()) > end_gfn:
        at = int(np.argmax(np.minimum(pages.count, np.uint64(end_gfn + 1)) + pages.first))
        raise _beyond("gfn_ranges", int(pages.first[at]) + int(pages.count[at]) - 1, end_gfn)


def _beyond(field: str, gfn: int, end_gfn: int) -> GfnBeyondIpaSpaceError:
    return GfnBeyondIpaSpaceError(
        f"{field} must stay below gfn {end_gfn}, the end of the IPA space, not {gfn}",
        field=field,
        bound=end_gfn - 1,
        value=gfn,
    )


def guest_write(slots: Memslots, pages: PageSet) -> AccessOutcome:
    """Write to pages as a vCPU: map, mark dirty where a slot logs, count faults and MMIO exits."""
    outcome = AccessOutcome(pages=_count(pages))
    taken = 0
    for slot, inside in _by_slot(slots, pages):
        if slot.region.has(MemslotFlags.READONLY):
            continue
        taken += _count(inside)
        faults = slot.mappings.write_fault(mask_of(inside), is_logging=slot.is_logging)
        newly = slot.log.mark(faults.written) if slot.log and faults.written else 0
        outcome = outcome.plus(faults, newly)
    return replace(outcome, mmio_exits=outcome.pages - taken)


def guest_read(slots: Memslots, pages: PageSet) -> AccessOutcome:
    """Read pages as a vCPU: map what is missing, count faults and MMIO exits."""
    outcome = AccessOutcome(pages=_count(pages))
    taken = 0
    for slot, inside in _by_slot(slots, pages):
        taken += _count(inside)
        faults = slot.mappings.read_fault(mask_of(inside), is_logging=slot.is_logging)
        outcome = outcome.plus(faults, 0)
    return replace(outcome, mmio_exits=outcome.pages - taken)


def host_write(slots: Memslots, pages: PageSet) -> AccessOutcome:
    """Write as the host kernel (kvm_write_guest): mark the log, leave stage 2 alone."""
    outcome = AccessOutcome(pages=_count(pages))
    taken = newly = 0
    for slot, inside in _by_slot(slots, pages):
        if slot.region.has(MemslotFlags.READONLY):
            continue
        taken += _count(inside)
        newly += slot.log.mark(mask_of(inside)) if slot.log else 0
    return replace(outcome, newly_dirty=newly, mmio_exits=outcome.pages - taken)


def host_unmap(slots: Memslots, pages: PageSet) -> AccessOutcome:
    """Unmap as an MMU notifier: leaves go, whole blocks included; the log stays."""
    for slot, inside in _by_slot(slots, pages):
        slot.mappings.unmap(mask_of(inside))
    return AccessOutcome(pages=_count(pages))


def _count(pages: PageSet) -> int:
    return len(pages.gfns) if isinstance(pages, Gfns) else int(pages.count.sum())


def _by_slot(slots: Memslots, pages: PageSet) -> list[tuple[Memslot, PageSet]]:
    """Cut a batch by slot; the pages of each are counted from the slot's start, repeats kept."""
    if isinstance(pages, Gfns):
        return _gfns_by_slot(slots, pages)
    return _ranges_by_slot(slots, pages)


def _gfns_by_slot(slots: Memslots, pages: Gfns) -> list[tuple[Memslot, PageSet]]:
    if not len(pages.gfns):
        return []
    low, high = int(pages.gfns.min()), int(pages.gfns.max())
    near = slots.around(low, high + 1)
    cuts: list[tuple[Memslot, PageSet]] = []
    if len(near) == 1 and near[0].region.base_gfn <= low and high < near[0].region.end_gfn:
        return [(near[0], Gfns(pages.gfns - np.uint64(near[0].region.base_gfn)))]
    ordered = np.sort(pages.gfns)
    for slot in near:
        edges = np.array([slot.region.base_gfn, slot.region.end_gfn], np.uint64)
        start, end = np.searchsorted(ordered, edges)
        if start < end:
            cuts.append((slot, Gfns(ordered[start:end] - edges[0])))
    return cuts


def _ranges_by_slot(slots: Memslots, pages: PageRanges) -> list[tuple[Memslot, PageSet]]:
    if not len(pages.first):
        return []
    ends = pages.first + pages.count
    cuts: list[tuple[Memslot, PageSet]] = []
    for slot in slots.around(int(pages.first.min()), int(ends.max())):
        base = np.uint64(slot.region.base_gfn)
        first = np.maximum(pages.first, base)
        end = np.minimum(ends, np.uint64(slot.region.end_gfn))
        meets = first < end
        if meets.any():
            inside = PageRanges(first[meets] - base, end[meets] - first[meets])
            cuts.append((slot, inside))
    return cuts
