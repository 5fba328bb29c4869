"""Memslots as plain objects, each dirty log a set of page offsets.

The checks of KVM_SET_USER_MEMORY_REGION are in the kernel's order (docs/kernel.md A.1), one after the
other.
"""

from dataclasses import asdict, dataclass

from hacdbs_sim.model import (
    ChangedMemslot,
    MemslotChange,
    MemslotFlags,
    MemslotInfo,
    SetMemslot,
    VmConfig,
)
from tests.support.scalar_counters import ScalarCounters
from tests.support.scalar_refusal import Refused
from tests.support.scalar_stage2 import Leaf, ScalarStage2

LOG = 1
READONLY = 2
SLOT_IDS = 32767


@dataclass(slots=True)
class ScalarMemslot:
    """One slot; `dirty` holds offsets from its first page, None without a log."""

    slot: int
    page_size: int
    base_gfn: int
    npages: int
    userspace_addr: int
    flags: int
    backing: int
    dirty: set[int] | None = None

    @property
    def end_gfn(self) -> int:
        return self.base_gfn + self.npages

    @property
    def is_readonly(self) -> bool:
        return bool(self.flags & READONLY)

    @property
    def is_logging(self) -> bool:
        """Whether stage 2 maps for logging: pages only, reads without write permission."""
        return bool(self.flags & LOG) and not self.is_readonly

    def largest_leaf(self, gfn: int, stage2: ScalarStage2) -> Leaf:
        """Return the largest leaf that may map `gfn` (docs/kernel.md S.2)."""
        apart = self.base_gfn * self.page_size - self.userspace_addr
        for level, pages in stage2.pages_at.items():
            size = pages * self.page_size
            first = gfn - gfn % pages
            inside = self.base_gfn <= first and first + pages <= self.end_gfn
            if size <= self.backing and apart % size == 0 and inside:
                return level, first
        raise AssertionError(gfn)

    def mark(self, gfn: int) -> int:
        """Mark a page dirty; 1 if that is new to the log, else 0."""
        offset = gfn - self.base_gfn
        if self.dirty is None or offset in self.dirty:
            return 0
        self.dirty.add(offset)
        return 1

    def view(self) -> MemslotInfo:
        return MemslotInfo(
            slot=self.slot,
            guest_phys_addr=self.base_gfn * self.page_size,
            memory_size=self.npages * self.page_size,
            userspace_addr=self.userspace_addr,
            flags=MemslotFlags(self.flags),
            backing=self.backing,
            base_gfn=self.base_gfn,
            npages=self.npages,
            dirty_count=None if self.dirty is None else len(self.dirty),
        )


class ScalarMemslots:
    """The slots of one VM, by id."""

    def __init__(self, config: VmConfig, stage2: ScalarStage2, counted: ScalarCounters) -> None:
        self.config = config
        self.stage2 = stage2
        self.counted = counted
        self.by_id: dict[int, ScalarMemslot] = {}

    def at(self, gfn: int) -> ScalarMemslot | None:
        for slot in self.by_id.values():
            if slot.base_gfn <= gfn < slot.end_gfn:
                return slot
        return None

    def with_log(self, slot_id: int) -> ScalarMemslot:
        slot = self.by_id.get(slot_id)
        if slot is None or slot.dirty is None:
            raise Refused("no_dirty_log")
        return slot

    def set_region(self, action: SetMemslot, manual: int, chunk: int) -> ChangedMemslot:
        """KVM_SET_USER_MEMORY_REGION, under the VM's current capabilities."""
        asked = self._checked(action)
        old = self.by_id.get(action.slot)
        if asked.npages == 0:
            return self._delete(asked, old)
        change = _change(asked, old)
        if change is MemslotChange.NONE:
            return _changed(change, asked if old is None else old)
        if change in {MemslotChange.CREATE, MemslotChange.MOVE}:
            self._refuse_overlap(asked)
        if change is MemslotChange.MOVE and old is not None:
            # The old place is invalidated before the arch hook may refuse the new one.
            self.stage2.unmap(old.base_gfn, old.end_gfn)
        if asked.end_gfn * self.config.page_size > 1 << self.config.ipa_bits:
            raise Refused("beyond_ipa_space")
        asked.dirty = _log_after(asked, old, manual)
        self.by_id[action.slot] = asked
        if asked.dirty is not None and manual != 3:
            self.stage2.write_protect(asked.base_gfn, asked.end_gfn)
            split = self._split_all(asked) if chunk else 0
            if change is MemslotChange.FLAGS_ONLY:  # nothing is mapped after the other changes
                self.counted.log_enabled(split)
        return _changed(change, asked)

    def _checked(self, action: SetMemslot) -> ScalarMemslot:
        page_size = self.config.page_size
        gpa, size = action.guest_phys_addr, action.memory_size
        uaddr = gpa if action.userspace_addr is None else action.userspace_addr
        backing = page_size if action.backing is None else action.backing
        leaf_sizes = [pages * page_size for pages in self.stage2.pages_at.values()]
        refusals = (
            not 0 <= action.slot < SLOT_IDS,
            action.flags & ~(LOG | READONLY) != 0,
            size % page_size != 0 or size >= 1 << 64,
            gpa % page_size != 0,
            uaddr % page_size != 0 or uaddr + size > 1 << 52,
            gpa + size >= 1 << 64,
            size // page_size > (1 << 31) - 1,
            backing not in leaf_sizes,
        )
        if any(refusals):
            raise Refused("invalid_argument")
        return ScalarMemslot(
            slot=action.slot,
            page_size=page_size,
            base_gfn=gpa // page_size,
            npages=size // page_size,
            userspace_addr=uaddr,
            flags=action.flags,
            backing=backing,
        )

    def _delete(self, asked: ScalarMemslot, old: ScalarMemslot | None) -> ChangedMemslot:
        if old is None:
            raise Refused("no_such_memslot")
        self.stage2.unmap(old.base_gfn, old.end_gfn)
        del self.by_id[old.slot]
        return _changed(MemslotChange.DELETE, asked)

    def _refuse_overlap(self, asked: ScalarMemslot) -> None:
        for slot in self.by_id.values():
            apart = slot.end_gfn <= asked.base_gfn or asked.end_gfn <= slot.base_gfn
            if slot.slot != asked.slot and not apart:
                raise Refused("memslot_overlap")

    def _split_all(self, slot: ScalarMemslot) -> int:
        """Eager split of a whole slot: every block in it is in range, so all become pages."""
        page_size = self.config.page_size
        return self.stage2.split(slot.base_gfn, slot.end_gfn, page_size, lambda _first, _end: False)


def _changed(change: MemslotChange, slot: ScalarMemslot) -> ChangedMemslot:
    return ChangedMemslot(change=change, **asdict(slot.view()))


def _change(asked: ScalarMemslot, old: ScalarMemslot | None) -> MemslotChange:
    if old is None:
        return MemslotChange.CREATE
    if (
        asked.userspace_addr != old.userspace_addr
        or asked.npages != old.npages
        or asked.is_readonly != old.is_readonly
        or asked.backing != old.backing
    ):
        raise Refused("memslot_changed")
    if asked.base_gfn != old.base_gfn:
        return MemslotChange.MOVE
    return MemslotChange.NONE if asked.flags == old.flags else MemslotChange.FLAGS_ONLY


def _log_after(asked: ScalarMemslot, old: ScalarMemslot | None, manual: int) -> set[int] | None:
    if not asked.flags & LOG:
        return None
    if old is not None and old.dirty is not None:
        return old.dirty
    return set(range(asked.npages)) if manual == 3 else set()
