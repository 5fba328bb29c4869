"""Guest and host accesses to batches of guest frames.

A batch behaves as if its distinct pages were accessed one at a time in ascending order, so the
order in which a caller lists them never shows. Pages are found in their slots here and faulted in
by the architecture (user_mem_abort, domain.md B.4); marking the log is generic (mark_page_dirty).
"""

from dataclasses import dataclass

import numpy as np

from app.sim.base.errors import GfnBeyondIpaSpaceError
from app.sim.base.pages import Gfns, PageRanges, PageSet
from app.sim.base.words import tiles_of
from app.sim.kvm.memslots import Memslot, Memslots
from app.sim.kvm.mmu import Faults


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


def check_gfns(pages: PageSet, end_gfn: int) -> None:
    """Refuse a batch that names a frame at or past `end_gfn`, the end of the IPA space.

    Raises:
        GfnBeyondIpaSpaceError: names the field and the frame.
    """
    if isinstance(pages, Gfns):
        if len(pages) and _span(pages)[1] > end_gfn:
            raise _beyond("gfns", int(pages.gfns.max()), end_gfn)
        return
    if not len(pages) or (len(pages) == 1 and _span(pages)[1] <= end_gfn):
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


class _Tally:
    """What has happened so far, slot by slot and tile by tile."""

    __slots__ = (
        "block_splits",
        "blocks_mapped",
        "newly_dirty",
        "permission",
        "taken",
        "translation",
    )

    def __init__(self) -> None:
        self.taken = self.newly_dirty = 0
        self.translation = self.permission = self.block_splits = self.blocks_mapped = 0

    def add(self, faults: Faults) -> None:
        self.translation += faults.translation
        self.permission += faults.permission
        self.block_splits += faults.block_splits
        self.blocks_mapped += faults.blocks_mapped

    def outcome(self, pages: int) -> AccessOutcome:
        """Leave to userspace what no slot took."""
        return AccessOutcome(
            pages,
            self.newly_dirty,
            self.translation,
            self.permission,
            pages - self.taken,
            self.block_splits,
            self.blocks_mapped,
        )


def guest_write(slots: Memslots, pages: PageSet) -> AccessOutcome:
    """Write to pages as a vCPU: map, mark dirty where a slot logs, count faults and MMIO exits."""
    tally = _Tally()
    for slot, inside in _by_slot(slots, pages):
        if slot.region.is_readonly:
            continue
        tally.taken += _count(inside)
        for mask in tiles_of(inside):
            faults = slot.mappings.write_fault(mask, is_logging=slot.is_logging)
            tally.add(faults)
            if slot.log and faults.written:
                tally.newly_dirty += slot.log.mark(faults.written)
    return tally.outcome(_count(pages))


def guest_read(slots: Memslots, pages: PageSet) -> AccessOutcome:
    """Read pages as a vCPU: map what is missing, count faults and MMIO exits."""
    tally = _Tally()
    for slot, inside in _by_slot(slots, pages):
        tally.taken += _count(inside)
        for mask in tiles_of(inside):
            tally.add(slot.mappings.read_fault(mask, is_logging=slot.is_logging))
    return tally.outcome(_count(pages))


def host_write(slots: Memslots, pages: PageSet) -> AccessOutcome:
    """Write as the host kernel (kvm_write_guest): mark the log, leave stage 2 alone."""
    tally = _Tally()
    for slot, inside in _by_slot(slots, pages):
        if slot.region.is_readonly:
            continue
        tally.taken += _count(inside)
        if slot.log:
            tally.newly_dirty += sum(slot.log.mark(mask) for mask in tiles_of(inside))
    return tally.outcome(_count(pages))


def host_unmap(slots: Memslots, pages: PageSet) -> AccessOutcome:
    """Unmap as an MMU notifier: leaves go, whole blocks included; the log stays."""
    for slot, inside in _by_slot(slots, pages):
        for mask in tiles_of(inside):
            slot.mappings.unmap(mask)
    return AccessOutcome(pages=_count(pages))


def _count(pages: PageSet) -> int:
    if isinstance(pages, Gfns):
        return len(pages.gfns)
    return int(pages.count[0]) if len(pages.count) == 1 else int(pages.count.sum())


def _span(pages: PageSet) -> tuple[int, int]:
    """Give where a batch, not empty, begins and ends."""
    if isinstance(pages, Gfns):
        if len(pages.gfns) == 1:
            return int(pages.gfns[0]), int(pages.gfns[0]) + 1
        return int(pages.gfns.min()), int(pages.gfns.max()) + 1
    if len(pages.first) == 1:
        return int(pages.first[0]), int(pages.first[0]) + int(pages.count[0])
    return int(pages.first.min()), int((pages.first + pages.count).max())


def _by_slot(slots: Memslots, pages: PageSet) -> list[tuple[Memslot, PageSet]]:
    """Cut a batch by slot; the pages of each are counted from the slot's start, repeats kept."""
    if not len(pages):
        return []
    low, end = _span(pages)
    near = slots.around(low, end)
    if len(near) == 1:
        region = near[0].region
        base = region.base_gfn
        if base <= low and end <= base + region.npages:  # as nearly all are
            return [(near[0], pages.moved_down(base))]
    if isinstance(pages, Gfns):
        return _gfns_by_slot(near, pages)
    return _ranges_by_slot(near, pages)


def _gfns_by_slot(near: tuple[Memslot, ...], pages: Gfns) -> list[tuple[Memslot, PageSet]]:
    ordered = np.sort(pages.gfns)
    cuts: list[tuple[Memslot, PageSet]] = []
    for slot in near:
        edges = np.array([slot.region.base_gfn, slot.region.end_gfn], np.uint64)
        start, end = np.searchsorted(ordered, edges)
        if start < end:
            cuts.append((slot, Gfns(ordered[start:end] - edges[0])))
    return cuts


def _ranges_by_slot(near: tuple[Memslot, ...], pages: PageRanges) -> list[tuple[Memslot, PageSet]]:
    ends = pages.first + pages.count
    cuts: list[tuple[Memslot, PageSet]] = []
    for slot in near:
        base = np.uint64(slot.region.base_gfn)
        first = np.maximum(pages.first, base)
        end = np.minimum(ends, np.uint64(slot.region.end_gfn))
        meets = first < end
        if meets.any():
            inside = PageRanges(first[meets] - base, end[meets] - first[meets])
            cuts.append((slot, inside))
    return cuts
