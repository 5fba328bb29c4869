"""Memslots: KVM_SET_USER_MEMORY_REGION (kvm_set_memory_region, domain.md A.1).

`Memslots.plan` makes every check that the generic code makes, in its order, and decides what the
call is; `Memslots.set_region` then acts, with the architecture's hooks where the kernel has them.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass, replace
from enum import STRICT, IntFlag, StrEnum
from typing import Final, Protocol

from app.sim.base.errors import (
    InvalidArgumentError,
    MemslotChangedError,
    MemslotOverlapError,
    NoDirtyLogError,
    NoSuchMemslotError,
)
from app.sim.base.units import leaf_sizes_bytes
from app.sim.kvm.dirty_bitmap import DirtyBitmap
from app.sim.kvm.mmu import Mappings

NR_MEMSLOTS: Final = 32767
"""KVM_CAP_NR_MEMSLOTS; ids are 0..32766."""

MAX_MEMSLOT_PAGES: Final = (1 << 31) - 1
"""KVM_MEM_MAX_NR_PAGES."""

USER_VA_BITS: Final = 52
"""access_ok(): userspace addresses end at 1 << 52 (arm64, CONFIG_ARM64_VA_BITS_52)."""


class MemslotFlags(IntFlag, boundary=STRICT):
    """KVM_MEM_* flags of a slot; an unknown bit is EINVAL."""

    NONE = 0
    LOG_DIRTY_PAGES = 1
    READONLY = 2


class MemslotChange(StrEnum):
    """enum kvm_mr_change, and `none` for a call that changes nothing."""

    CREATE = "create"
    MOVE = "move"
    FLAGS_ONLY = "flags_only"
    NONE = "none"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class MemslotView:
    """A memslot as it can be looked at. Addresses and sizes in bytes."""

    slot: int
    guest_phys_addr: int
    memory_size: int
    userspace_addr: int
    flags: MemslotFlags
    backing: int
    base_gfn: int
    npages: int
    dirty_count: int | None


@dataclass(frozen=True, slots=True)
class Region:
    """struct kvm_userspace_memory_region2 after the checks, with the backing; in bytes."""

    slot: int
    flags: MemslotFlags
    guest_phys_addr: int
    memory_size: int
    userspace_addr: int
    backing: int
    page_size: int

    @property
    def base_gfn(self) -> int:
        """Value of the first guest frame number."""
        return self.guest_phys_addr // self.page_size

    @property
    def npages(self) -> int:
        """Value of the slot's length in pages."""
        return self.memory_size // self.page_size

    @property
    def end_gfn(self) -> int:
        """Value of the first guest frame number past the slot."""
        return self.base_gfn + self.npages

    def has(self, flag: MemslotFlags) -> bool:
        """Tell whether a flag is set."""
        return flag in self.flags


@dataclass(frozen=True, slots=True, eq=False)
class Memslot:
    """One memslot: its region, its dirty bitmap if it has one, its stage-2 leaves."""

    region: Region
    log: DirtyBitmap | None
    mappings: Mappings

    @property
    def is_logging(self) -> bool:
        """Whether stage 2 must track writes: a bitmap and not READONLY (memslot_is_logging)."""
        return self.log is not None and not self.region.has(MemslotFlags.READONLY)

    def view(self) -> MemslotView:
        """Look at the slot."""
        return view_of(self.region, self.log.count if self.log else None)


def view_of(region: Region, dirty_count: int | None) -> MemslotView:
    """Look at a region."""
    return MemslotView(
        slot=region.slot,
        guest_phys_addr=region.guest_phys_addr,
        memory_size=region.memory_size,
        userspace_addr=region.userspace_addr,
        flags=region.flags,
        backing=region.backing,
        base_gfn=region.base_gfn,
        npages=region.npages,
        dirty_count=dirty_count,
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

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._by_id: dict[int, Memslot] = {}
        self._by_gfn: list[tuple[int, int]] = []  # (base_gfn, slot id), ascending

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, slot: int) -> Memslot:
        """Look a slot up.

        Raises:
            NoSuchMemslotError: it is absent.
        """
        found = self._by_id.get(slot)
        if found is None:
            raise NoSuchMemslotError(f"slot {slot} does not exist", field="slot", value=slot)
        return found

    @staticmethod
    def check_id(slot: int) -> None:
        """Refuse an id that no slot can have.

        Raises:
            InvalidArgumentError: EINVAL.
        """
        if not 0 <= slot < NR_MEMSLOTS:
            raise InvalidArgumentError(
                f"slot must be 0..{NR_MEMSLOTS - 1}, not {slot}",
                field="slot",
                bound=NR_MEMSLOTS - 1,
                value=slot,
            )

    def logging(self, slot: int) -> tuple[Memslot, DirtyBitmap]:
        """Look up a slot and its dirty bitmap, as the dirty-log ioctls do.

        Raises:
            InvalidArgumentError: no slot can have that id (EINVAL).
            NoDirtyLogError: the slot is absent or has no bitmap (ENOENT).
        """
        self.check_id(slot)
        found = self._by_id.get(slot)
        if found is None:
            raise NoDirtyLogError(f"slot {slot} does not exist", field="slot", value=slot)
        if found.log is None:
            raise NoDirtyLogError(
                f"slot {slot} has no dirty log: LOG_DIRTY_PAGES is not set on it",
                field="slot",
                value=slot,
            )
        return found, found.log

    def by_id(self) -> tuple[Memslot, ...]:
        """Give all slots, ascending by id."""
        return tuple(slot for _, slot in sorted(self._by_id.copy().items()))

    def around(self, first_gfn: int, end_gfn: int) -> tuple[Memslot, ...]:
        """Give the slots that meet [first_gfn, end_gfn), ascending by guest frame number."""
        start = max(bisect_left(self._by_gfn, (first_gfn, 0)) - 1, 0)
        end = bisect_left(self._by_gfn, (end_gfn, 0))
        near = (self._by_id[slot] for _, slot in self._by_gfn[start:end])
        return tuple(slot for slot in near if slot.region.end_gfn > first_gfn)

    def at_or_after(self, gfn: int) -> Memslot | None:
        """Give the slot that holds a frame, else the next one; None where there is none."""
        after = bisect_left(self._by_gfn, (gfn + 1, 0))
        for _, slot in self._by_gfn[max(after - 1, 0) : after + 1]:
            if self._by_id[slot].region.end_gfn > gfn:
                return self._by_id[slot]
        return None

    def plan(
        self,
        slot: int,
        *,
        flags: int,
        guest_phys_addr: int,
        memory_size: int,
        userspace_addr: int,
        backing: int,
    ) -> RegionPlan:
        """Check a call in the kernel's order and decide what it is; nothing changes.

        Raises:
            InvalidArgumentError: a value that no slot may have (EINVAL).
            NoSuchMemslotError: delete of an absent slot (EINVAL).
            MemslotChangedError: a present slot would change what must stay (EINVAL).
            MemslotOverlapError: the range meets another slot (EEXIST).
        """
        self.check_id(slot)
        new = Region(
            slot,
            _check_flags(flags),
            guest_phys_addr,
            memory_size,
            userspace_addr,
            backing,
            self._page_size,
        )
        _check_addresses(new)
        _check_backing(new)
        old = self._by_id.get(slot)
        if not new.memory_size:
            if old is None:
                raise NoSuchMemslotError(
                    f"slot {slot} does not exist, so it cannot be deleted", field="slot", value=slot
                )
            return RegionPlan(MemslotChange.DELETE, old, new)
        change = MemslotChange.CREATE if old is None else _change_of(old.region, new)
        if change in (MemslotChange.CREATE, MemslotChange.MOVE):
            self._check_overlap(new)
        return RegionPlan(change, old, new)

    def set_region(self, plan: RegionPlan, hooks: RegionHooks) -> Memslot | None:
        """Carry a plan out (kvm_set_memslot); give the slot as it now is, None once deleted.

        Raises:
            BeyondIpaSpaceError: the architecture refused (EFAULT); a moved slot is unmapped by then.
        """
        old, new = plan.old, plan.new
        if plan.change is MemslotChange.NONE:
            return old
        if old and plan.change in (MemslotChange.MOVE, MemslotChange.DELETE):
            hooks.flush_shadow(old)
        if old and plan.change is MemslotChange.DELETE:
            del self._by_id[new.slot]
            self._unlist(old)
            return None
        hooks.prepare(new)
        log = old.log if old else None
        if not new.has(MemslotFlags.LOG_DIRTY_PAGES):
            log = None
        elif plan.allocates_log:
            log = DirtyBitmap(new.npages, initially_set=hooks.initially_set)
        if old and plan.change is MemslotChange.FLAGS_ONLY:
            slot = replace(old, region=new, log=log)
        else:
            slot = Memslot(new, log, hooks.new_mappings(new))
        # Replaced in one step: a look without the VM's lock finds the old slot or the new one.
        self._by_id[new.slot] = slot
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
                raise MemslotOverlapError(
                    f"guest_phys_addr must keep clear of slot {taken.slot}, which has "
                    f"{taken.guest_phys_addr:#x} to "
                    f"{taken.guest_phys_addr + taken.memory_size:#x}, "
                    f"not {new.guest_phys_addr:#x} with size {new.memory_size:#x}",
                    field="guest_phys_addr",
                    bound=f"outside slot {taken.slot}",
                    value=f"{new.guest_phys_addr:#x}",
                )


def _check_flags(flags: int) -> MemslotFlags:
    try:
        return MemslotFlags(flags)
    except ValueError:
        raise InvalidArgumentError(
            f"flags must be made of LOG_DIRTY_PAGES (1) and READONLY (2), not {flags:#x}",
            field="flags",
            bound=3,
            value=flags,
        ) from None


def _check_addresses(new: Region) -> None:
    """Checks 3 to 8 of domain.md A.1."""
    _check_aligned("memory_size", new.memory_size, new.page_size)
    _check_aligned("guest_phys_addr", new.guest_phys_addr, new.page_size)
    _check_aligned("userspace_addr", new.userspace_addr, new.page_size)
    user_end = 1 << USER_VA_BITS
    if new.userspace_addr + new.memory_size > user_end:
        raise InvalidArgumentError(
            f"userspace_addr + memory_size must be at most {user_end:#x}, "
            f"not {new.userspace_addr + new.memory_size:#x}",
            field="userspace_addr",
            bound=f"{user_end:#x}",
            value=f"{new.userspace_addr:#x}",
        )
    if new.guest_phys_addr + new.memory_size >= 1 << 64:
        raise InvalidArgumentError(
            "guest_phys_addr + memory_size must be below 2**64, "
            f"not {new.guest_phys_addr + new.memory_size:#x}",
            field="guest_phys_addr",
            bound="2**64",
            value=f"{new.guest_phys_addr:#x}",
        )
    if new.npages > MAX_MEMSLOT_PAGES:
        raise InvalidArgumentError(
            f"memory_size must be at most {MAX_MEMSLOT_PAGES} pages, not {new.npages}",
            field="memory_size",
            bound=MAX_MEMSLOT_PAGES * new.page_size,
            value=new.memory_size,
        )


def _check_aligned(name: str, value: int, page_size: int) -> None:
    if not 0 <= value < 1 << 64 or value % page_size:
        raise InvalidArgumentError(
            f"{name} must be a multiple of the page size, {page_size}, below 2**64, not {value:#x}",
            field=name,
            bound=page_size,
            value=f"{value:#x}",
        )


def _check_backing(new: Region) -> None:
    sizes = leaf_sizes_bytes(new.page_size)
    if new.backing not in sizes:
        raise InvalidArgumentError(
            f"backing must be one of {', '.join(map(str, sizes))} "
            f"for pages of {new.page_size} bytes, not {new.backing}",
            field="backing",
            bound=sizes[-1],
            value=new.backing,
        )


def _change_of(old: Region, new: Region) -> MemslotChange:
    """Check 11 of domain.md A.1."""
    for name in ("userspace_addr", "memory_size", "backing"):
        was, wanted = getattr(old, name), getattr(new, name)
        if was != wanted:
            raise MemslotChangedError(
                f"{name} of slot {new.slot} must stay {was:#x}, not {wanted:#x}: "
                "delete the slot first",
                field=name,
                bound=f"{was:#x}",
                value=f"{wanted:#x}",
            )
    if (old.flags ^ new.flags) & MemslotFlags.READONLY:
        raise MemslotChangedError(
            f"flags of slot {new.slot} must keep READONLY as it is: delete the slot first",
            field="flags",
            bound=int(old.flags),
            value=int(new.flags),
        )
    if old.guest_phys_addr != new.guest_phys_addr:
        return MemslotChange.MOVE
    return MemslotChange.FLAGS_ONLY if old.flags != new.flags else MemslotChange.NONE
