"""The memslots of a VM of the host's KVM, and the memory behind them."""

from dataclasses import dataclass
from typing import Final

from hacdbs_sim import model
from hacdbs_sim.host_kvm import guest
from hacdbs_sim.host_kvm.memory import HUGE_PAGE_SIZE, PAGE_SIZE, GuestMemory
from hacdbs_sim.model.errors import MemslotChangedError, NotSupportedByBackendError

MAX_MEMSLOT_PAGES: Final = (1 << 31) - 1
"""KVM_MEM_MAX_NR_PAGES."""

USER_END: Final = 1 << 63
"""No access_ok() lets an address beyond this through."""

BACKINGS: Final = (PAGE_SIZE, HUGE_PAGE_SIZE)
_WORD: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True, eq=False)
class HeldSlot:
    """A memslot as the kernel last accepted it."""

    region: model.MemslotInfo
    memory: GuestMemory
    generation: int
    """That of the memslots in which it became so."""


def region_of(action: model.SetMemslot) -> model.MemslotInfo:
    """Return what a call asks for; how many of its pages are dirty is not known."""
    user, backing = action.userspace_addr, action.backing
    return model.MemslotInfo(
        slot=action.slot,
        guest_phys_addr=action.guest_phys_addr,
        memory_size=action.memory_size,
        userspace_addr=action.guest_phys_addr if user is None else user,
        flags=action.flags,
        backing=PAGE_SIZE if backing is None else backing,
        base_gfn=action.guest_phys_addr // PAGE_SIZE,
        npages=action.memory_size // PAGE_SIZE,
        dirty_count=None,
    )


def is_refused_by_any_kernel(region: model.MemslotInfo) -> bool:
    """Whether KVM refuses these numbers whatever else is there, so that no memory is needed."""
    user = region.userspace_addr
    return (
        bool((region.memory_size | region.guest_phys_addr | user) % PAGE_SIZE)
        or region.npages > MAX_MEMSLOT_PAGES
        or region.guest_phys_addr + region.memory_size > _WORD
        or user + region.memory_size >= USER_END
    )


def check_place(region: model.MemslotInfo, control_slot: int) -> None:
    """Refuse a slot that KVM takes and this backend's guest could not reach."""
    if region.slot == control_slot:
        raise NotSupportedByBackendError(
            f"slot {control_slot} of a host_kvm VM has the guest's own program",
            field="slot",
            bound=control_slot - 1,
            value=region.slot,
        )
    if not region.memory_size or is_refused_by_any_kernel(region):
        return
    if (end := region.guest_phys_addr + region.memory_size) > guest.BASE:
        raise NotSupportedByBackendError(
            f"guest_phys_addr + memory_size must be at most {guest.BASE:#x} on host_kvm, "
            f"not {end:#x}",
            field="guest_phys_addr",
            bound=f"{guest.BASE:#x}",
            value=f"{region.guest_phys_addr:#x}",
        )
    if region.backing not in BACKINGS:
        raise NotSupportedByBackendError.must(
            "backing",
            f"be one of {', '.join(map(str, BACKINGS))} on host_kvm",
            region.backing,
            bound=HUGE_PAGE_SIZE,
        )


def check_same_backing(held: HeldSlot, region: model.MemslotInfo) -> None:
    """Refuse another backing for memory that is there."""
    if region.memory_size and region.backing != held.region.backing:
        raise MemslotChangedError.must(
            "backing", f"stay {held.region.backing}", region.backing, bound=held.region.backing
        )


def address_of(region: model.MemslotInfo, held: HeldSlot | None, memory: GuestMemory | None) -> int:
    """Return the address in this process that stands for the caller's.

    What the caller names lies in no address space of its own. The distance to where the slot's memory
    was first seen is kept, so that the kernel sees an address change where the caller changes it.
    """
    user = region.userspace_addr
    if user + region.memory_size >= USER_END:
        return user & _WORD  # to be refused by access_ok()
    if held is not None and not region.memory_size:
        return held.memory.address + user % PAGE_SIZE  # of a delete, alignment is all that counts
    if held is not None:
        return (held.memory.address + user - held.region.userspace_addr) & _WORD
    if memory is not None:
        return memory.address
    return HUGE_PAGE_SIZE + user % HUGE_PAGE_SIZE
