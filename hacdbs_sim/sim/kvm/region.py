"""One memory region, as KVM_SET_USER_MEMORY_REGION receives it, and the checks of it alone.

Checks 1 to 8 of docs/kernel.md A.1, in the kernel's order, and that of the backing.
"""

from dataclasses import dataclass, field
from typing import Final

from hacdbs_sim.model import MemslotFlags, MemslotInfo, SetMemslot
from hacdbs_sim.model.errors import InvalidArgumentError
from hacdbs_sim.model.units import leaf_sizes_bytes

NR_MEMSLOTS: Final = 32767
"""KVM_CAP_NR_MEMSLOTS; ids are 0..32766."""

MAX_MEMSLOT_PAGES: Final = (1 << 31) - 1
"""KVM_MEM_MAX_NR_PAGES."""

USER_VA_BITS: Final = 52
"""access_ok(): userspace addresses end at 1 << 52 (arm64, CONFIG_ARM64_VA_BITS_52)."""


@dataclass(frozen=True, slots=True)
class Region:
    """struct kvm_userspace_memory_region2 after the checks, with the backing; in bytes.

    The derived fields are computed once: a guest write of one page needs most of them (1.5 us).
    """

    slot: int
    flags: MemslotFlags
    guest_phys_addr: int
    memory_size: int
    userspace_addr: int
    backing: int
    page_size: int
    base_gfn: int = field(init=False)
    """First guest frame number."""
    npages: int = field(init=False)
    """Length in pages."""
    end_gfn: int = field(init=False)
    """First guest frame number past the slot."""
    is_readonly: bool = field(init=False)
    """Whether guest and host may not write."""

    def __post_init__(self) -> None:
        """Compute the derived fields."""
        base_gfn = self.guest_phys_addr // self.page_size
        npages = self.memory_size // self.page_size
        derived = {
            "base_gfn": base_gfn,
            "npages": npages,
            "end_gfn": base_gfn + npages,
            "is_readonly": MemslotFlags.READONLY in self.flags,
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def has(self, flag: MemslotFlags) -> bool:
        """Return whether a flag is set."""
        return flag in self.flags


def view_of(region: Region, dirty_count: int | None) -> MemslotInfo:
    """Return the state of a region."""
    return MemslotInfo(
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


def check_slot_id(slot: int) -> None:
    """Refuse an id that no slot can have (EINVAL)."""
    if not 0 <= slot < NR_MEMSLOTS:
        raise InvalidArgumentError.must(
            "slot", f"be 0..{NR_MEMSLOTS - 1}", slot, bound=NR_MEMSLOTS - 1
        )


def checked_region(action: SetMemslot, page_size: int) -> Region:
    """Make a region of what a call asks for; EINVAL for a value that no slot may have."""
    check_slot_id(action.slot)
    user, backing = action.userspace_addr, action.backing
    region = Region(
        action.slot,
        _check_flags(action.flags),
        action.guest_phys_addr,
        action.memory_size,
        action.guest_phys_addr if user is None else user,
        page_size if backing is None else backing,
        page_size,
    )
    _check_addresses(region)
    _check_backing(region)
    return region


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
    """Checks 3 to 8 of docs/kernel.md A.1."""
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
        raise InvalidArgumentError.must(
            name,
            f"be a multiple of the page size, {page_size}, below 2**64",
            f"{value:#x}",
            bound=page_size,
        )


def _check_backing(new: Region) -> None:
    sizes = leaf_sizes_bytes(new.page_size)
    if new.backing not in sizes:
        raise InvalidArgumentError.must(
            "backing",
            f"be one of {', '.join(map(str, sizes))} for pages of {new.page_size} bytes",
            new.backing,
            bound=sizes[-1],
        )
