"""Memslots: KVM_SET_USER_MEMORY_REGION (kvm_set_memory_region, docs/kernel.md A.1).

`region.checked_region` makes the checks that need no other slot, `Memslots.plan` the others and
decides what the call is; `Memslots.set_region` then acts, with the architecture's hooks where the
kernel has them.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass, field, replace
from typing import Protocol

from hacdbs_sim.model import MemslotChange, MemslotFlags, MemslotInfo, MemslotLife, errors
from hacdbs_sim.sim.kvm.dirty_bitmap import DirtyBitmap
from hacdbs_sim.sim.kvm.mmu import Mappings
from hacdbs_sim.sim.kvm.region import Region, check_slot_id, view_of


@dataclass(frozen=True, slots=True, eq=False)
class Memslot:
    """One memslot: its region, its dirty bitmap if it has one, its stage-2 leaves."""

    region: Region
    log: DirtyBitmap | None
    mappings: Mappings
    generation: int
    """That of the memslots when the slot became what it is (kvm_memslots.generation)."""
    created: int
    """That in which it was made; deleted and made again it is another slot."""
    logs_since: int
    """That in which its dirty bitmap was made, if it has one."""
    is_logging: bool = field(init=False)
    """Whether stage 2 must track writes: a bitmap and not READONLY (memslot_is_logging)."""

    def __post_init__(self) -> None:
        """Derive `is_logging` once: each access needs it."""
        is_logging = self.log is not None and not self.region.is_readonly
        object.__setattr__(self, "is_logging", is_logging)

    def view(self) -> MemslotInfo:
        """Return the state of the slot."""
        return view_of(self.region, self.log.count if self.log else None)

    def life(self) -> MemslotLife:
        """Return which slot this is."""
        return MemslotLife(
            slot=self.region.slot,
            created=self.created,
            log=None if self.log is None else self.logs_since,
            npages=self.region.npages,
            base_gfn=self.region.base_gfn,
        )


@dataclass(frozen=True, slots=True, eq=False)
class RegionPlan:
    """What a call of KVM_SET_USER_MEMORY_REGION is, once the generic checks have passed."""

    change: MemslotChange
    old: Memslot | None
    new: Region

    @property
    def allocates_log(self) -> bool:
        """Whether the call needs a new dirty bitmap."""
        return (
            self.change is not MemslotChange.DELETE
            and self.new.has(MemslotFlags.LOG_DIRTY_PAGES)
            and not (self.old and self.old.log)
        )


class RegionHooks(Protocol):
    """What the architecture does while the memslots change."""

    @property
    def initially_set(self) -> bool:
        """Whether a new dirty bitmap starts with all bits set."""
        ...

    def flush_shadow(self, slot: Memslot) -> None:
        """Unmap all of a slot that is being moved or deleted."""
        ...

    def prepare(self, region: Region) -> None:
        """Refuse a region that this VM cannot have (kvm_arch_prepare_memory_region)."""
        ...

    def new_mappings(self, region: Region) -> Mappings:
        """Make an empty stage-2 range."""
        ...

    def commit(self, slot: Memslot) -> None:
        """Follow a change that leaves LOG_DIRTY_PAGES set (kvm_arch_commit_memory_region)."""
        ...


class Memslots:
    """All memslots of a VM, by id and by address."""

    def __init__(self) -> None:
        self._by_id: dict[int, Memslot] = {}
        self._by_gfn: list[tuple[int, int]] = []  # (base_gfn, slot id), ascending
        self.generation = 0
        """How often the memslots have changed."""

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, slot: int) -> bool:
        """Return whether a slot is present."""
        return slot in self._by_id

    def get(self, slot: int) -> Memslot:
        """Return a slot (NoSuchMemslotError if it is absent)."""
        found = self._by_id.get(slot)
        if found is None:
            raise errors.NoSuchMemslotError(f"slot {slot} does not exist", field="slot", value=slot)
        return found

    def life(self, slot: int) -> MemslotLife | None:
        """Return which slot a number stands for; None: there is none."""
        found = self._by_id.get(slot)
        return None if found is None else found.life()

    def logging(self, slot: int) -> tuple[Memslot, DirtyBitmap]:
        """Return a slot and its dirty bitmap, as the dirty-log ioctls do (EINVAL, ENOENT)."""
        check_slot_id(slot)
        found = self._by_id.get(slot)
        if found is None:
            raise errors.NoDirtyLogError(f"slot {slot} does not exist", field="slot", value=slot)
        if found.log is None:
            raise errors.NoDirtyLogError(
                f"slot {slot} has no dirty log: LOG_DIRTY_PAGES is not set on it",
                field="slot",
                value=slot,
            )
        return found, found.log

    def by_id(self) -> tuple[Memslot, ...]:
        """Return all slots, ascending by id."""
        return tuple(slot for _, slot in sorted(self._by_id.copy().items()))

    def around(self, first_gfn: int, end_gfn: int) -> tuple[Memslot, ...]:
        """Return the slots that meet [first_gfn, end_gfn), ascending by guest frame number."""
        start = max(bisect_left(self._by_gfn, (first_gfn, 0)) - 1, 0)
        end = bisect_left(self._by_gfn, (end_gfn, 0))
        near = (self._by_id[slot] for _, slot in self._by_gfn[start:end])
        return tuple(slot for slot in near if slot.region.end_gfn > first_gfn)

    def holding(self, first_gfn: int, end_gfn: int) -> Memslot | None:
        """Return the slot that holds all of [first_gfn, end_gfn); None if no single one does."""
        at = bisect_left(self._by_gfn, (first_gfn + 1, 0)) - 1
        if at < 0:
            return None
        slot = self._by_id[self._by_gfn[at][1]]
        return slot if end_gfn <= slot.region.end_gfn else None

    def at_or_after(self, gfn: int) -> Memslot | None:
        """Return the slot that holds a frame, else the next one; None where there is none."""
        after = bisect_left(self._by_gfn, (gfn + 1, 0))
        for _, slot in self._by_gfn[max(after - 1, 0) : after + 1]:
            if self._by_id[slot].region.end_gfn > gfn:
                return self._by_id[slot]
        return None

    def plan(self, new: Region) -> RegionPlan:
        """Check a call in the kernel's order, from check 9 on, and decide what it is."""
        slot = new.slot
        old = self._by_id.get(slot)
        if not new.memory_size:
            if old is None:
                raise errors.NoSuchMemslotError(
                    f"slot {slot} does not exist, so it cannot be deleted", field="slot", value=slot
                )
            return RegionPlan(MemslotChange.DELETE, old, new)
        change = MemslotChange.CREATE if old is None else _change_of(old.region, new)
        if change in (MemslotChange.CREATE, MemslotChange.MOVE):
            self._check_overlap(new)
        return RegionPlan(change, old, new)

    def set_region(self, plan: RegionPlan, hooks: RegionHooks) -> Memslot | None:
        """Apply a plan (kvm_set_memslot); return the slot as it is then, None once deleted.

        Where the architecture refuses (EFAULT), a slot that was to move is unmapped by then.
        """
        old, new = plan.old, plan.new
        if plan.change is MemslotChange.NONE:
            return old
        if old and plan.change in (MemslotChange.MOVE, MemslotChange.DELETE):
            hooks.flush_shadow(old)
        if old and plan.change is MemslotChange.DELETE:
            del self._by_id[new.slot]
            self._unlist(old)
            self.generation += 1
            return None
        hooks.prepare(new)
        log = old.log if old else None
        if not new.has(MemslotFlags.LOG_DIRTY_PAGES):
            log = None
        elif plan.allocates_log:
            log = DirtyBitmap(new.npages, initially_set=hooks.initially_set)
        generation = self.generation + 1
        logs_since = generation if plan.allocates_log or old is None else old.logs_since
        if old and plan.change is MemslotChange.FLAGS_ONLY:
            slot = replace(old, region=new, log=log, generation=generation, logs_since=logs_since)
        else:
            created = generation if old is None else old.created
            mappings = hooks.new_mappings(new)
            slot = Memslot(new, log, mappings, generation, created, logs_since)
        # Replaced in one step: a query without the VM's lock finds the old slot or the new one.
        self._by_id[new.slot] = slot
        self.generation = generation
        if plan.change is not MemslotChange.FLAGS_ONLY:
            if old:
                self._unlist(old)
            insort(self._by_gfn, (new.base_gfn, new.slot))
        if log is not None and plan.change is MemslotChange.FLAGS_ONLY:
            hooks.commit(slot)  # the kernel calls it after CREATE and MOVE too: nothing is mapped
        return slot

    def _unlist(self, old: Memslot) -> None:
        del self._by_gfn[bisect_left(self._by_gfn, (old.region.base_gfn, old.region.slot))]

    def _check_overlap(self, new: Region) -> None:
        for other in self.around(new.base_gfn, new.end_gfn):
            if other.region.slot != new.slot:
                taken = other.region
                raise errors.MemslotOverlapError(
                    f"guest_phys_addr must keep clear of slot {taken.slot}, which has "
                    f"{taken.guest_phys_addr:#x} to "
                    f"{taken.guest_phys_addr + taken.memory_size:#x}, "
                    f"not {new.guest_phys_addr:#x} with size {new.memory_size:#x}",
                    field="guest_phys_addr",
                    bound=f"outside slot {taken.slot}",
                    value=f"{new.guest_phys_addr:#x}",
                )


def _change_of(old: Region, new: Region) -> MemslotChange:
    """Check 11 of docs/kernel.md A.1."""
    for name in ("userspace_addr", "memory_size", "backing"):
        was, wanted = getattr(old, name), getattr(new, name)
        if was != wanted:
            raise errors.MemslotChangedError(
                f"{name} of slot {new.slot} must stay {was:#x}, not {wanted:#x}: "
                "delete the slot first",
                field=name,
                bound=f"{was:#x}",
                value=f"{wanted:#x}",
            )
    if (old.flags ^ new.flags) & MemslotFlags.READONLY:
        raise errors.MemslotChangedError(
            f"flags of slot {new.slot} must keep READONLY as it is: delete the slot first",
            field="flags",
            bound=int(old.flags),
            value=int(new.flags),
        )
    if old.guest_phys_addr != new.guest_phys_addr:
        return MemslotChange.MOVE
    return MemslotChange.FLAGS_ONLY if old.flags != new.flags else MemslotChange.NONE
