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

    region: model.SetMemslot
    """The call that made it so, with `userspace_addr` and `backing` filled in."""
    memory: GuestMemory
    """What is behind it."""
    generation: int
    """That of the memslots in which it became so."""

    @property
    def base_gfn(self) -> int:
        """Its first guest frame."""
        return self.region.guest_phys_addr // PAGE_SIZE

    @property
    def npages(self) -> int:
        """Its length in pages."""
        return self.region.memory_size // PAGE_SIZE

    def info(self) -> model.MemslotInfo:
        """Return what is shown of it."""
        return info_of(self.region)


def info_of(region: model.SetMemslot) -> model.MemslotInfo:
    """Return what is shown of a region; how many of its pages are dirty is not known."""
    return model.MemslotInfo(
        slot=region.slot,
        guest_phys_addr=region.guest_phys_addr,
        memory_size=region.memory_size,
        userspace_addr=user_of(region),
        flags=region.flags,
        backing=backing_of(region),
        base_gfn=region.guest_phys_addr // PAGE_SIZE,
        npages=region.memory_size // PAGE_SIZE,
        dirty_count=None,
    )


def user_of(region: model.SetMemslot) -> int:
    """Return where the caller sees the memory."""
    return region.guest_phys_addr if region.userspace_addr is None else region.userspace_addr


def backing_of(region: model.SetMemslot) -> int:
    """Return the size of the pages behind a region."""
    return PAGE_SIZE if region.backing is None else region.backing


def is_refused_by_any_kernel(region: model.SetMemslot) -> bool:
    """Whether KVM refuses these numbers whatever else is there, so that no memory is needed."""
    user = user_of(region)
    return (
        bool((region.memory_size | region.guest_phys_addr | user) % PAGE_SIZE)
        or region.memory_size // PAGE_SIZE > MAX_MEMSLOT_PAGES
        or region.guest_phys_addr + region.memory_size > _WORD
        or user + region.memory_size >= USER_END
    )


def check_place(region: model.SetMemslot, control_slot: int) -> None:
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
    if backing_of(region) not in BACKINGS:
        raise NotSupportedByBackendError(
            f"backing must be one of {', '.join(map(str, BACKINGS))} on host_kvm, "
            f"not {region.backing}",
            field="backing",
            bound=HUGE_PAGE_SIZE,
            value=region.backing,
        )


def check_same_backing(held: HeldSlot, region: model.SetMemslot) -> None:
    """Refuse another backing for memory that is there."""
    if region.memory_size and backing_of(region) != backing_of(held.region):
        raise MemslotChangedError(
            f"backing must stay {backing_of(held.region)}, not {backing_of(region)}",
            field="backing",
            bound=backing_of(held.region),
            value=backing_of(region),
        )


def address_of(region: model.SetMemslot, held: HeldSlot | None, memory: GuestMemory | None) -> int:
    """Return the address in this process that stands for the caller's.

    What the caller names lies in no address space of its own. The distance to where the slot's memory
    was first seen is kept, so that the kernel sees an address change where the caller changes it.
    """
    user = user_of(region)
    if user + region.memory_size >= USER_END:
        return user & _WORD  # to be refused by access_ok()
    if held is not None and not region.memory_size:
        return held.memory.address + user % PAGE_SIZE  # of a delete, alignment is all that counts
    if held is not None:
        return (held.memory.address + user - user_of(held.region)) & _WORD
    if memory is not None:
        return memory.address
    return HUGE_PAGE_SIZE + user % HUGE_PAGE_SIZE
