"""Memslots: KVM_SET_USER_MEMORY_REGION."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import FailFast, Field
from typing_extensions import TypedDict

from hacdbs_sim.sim.actions import MemslotFlags, MemslotOutcome, MemslotView, SetMemoryRegion

from .base import Request, answer, example, omittable
from .fields import Address, SizeBytes, Slot
from .render import hex_of


class FlagName(StrEnum):
    """KVM_MEM_* flags by name."""

    LOG_DIRTY_PAGES = "LOG_DIRTY_PAGES"
    READONLY = "READONLY"


MEMSLOT_EXAMPLE: Final[Mapping[str, Any]] = {
    "guest_phys_addr": "0x40000000",
    "memory_size": "2GiB",
    "flags": ["LOG_DIRTY_PAGES"],
}


class MemslotIn(Request):
    """A memory region; a `memory_size` of 0 deletes the slot."""

    model_config = example(**MEMSLOT_EXAMPLE)

    guest_phys_addr: Address
    memory_size: SizeBytes
    userspace_addr: Address = omittable(
        description="Where it is backed; guest_phys_addr if absent."
    )
    flags: Annotated[list[FlagName], FailFast(), Field(max_length=len(FlagName))] = Field(
        default=[]
    )
    backing: SizeBytes = omittable(description="Size of the backing's pages; page_size if absent.")

    def to_domain(self, slot: int) -> SetMemoryRegion:
        """Give the ioctl's argument."""
        flags = MemslotFlags.NONE
        for name in self.flags:
            flags |= MemslotFlags[name]
        return SetMemoryRegion(
            slot=slot,
            guest_phys_addr=self.guest_phys_addr,
            memory_size=self.memory_size,
            userspace_addr=self.userspace_addr,
            flags=int(flags),
            backing=self.backing,
        )


class NumberedMemslotIn(MemslotIn):
    """A memory region with its slot number."""

    model_config = example(slot=0, **MEMSLOT_EXAMPLE)

    slot: Slot


@answer
class MemslotOut(TypedDict):
    """A memslot; `dirty_count` is null where no log is kept."""

    slot: int
    guest_phys_addr: str
    memory_size: int
    userspace_addr: str
    flags: list[Literal["LOG_DIRTY_PAGES", "READONLY"]]
    backing: int
    base_gfn: int
    npages: int
    dirty_count: int | None


@answer
class MemslotChangeOut(MemslotOut):
    """A memslot, and what the call did to it (enum kvm_mr_change)."""

    change: Literal["create", "move", "flags_only", "none", "delete"]


@answer
class MemslotListOut(TypedDict):
    """Memslots, by slot number."""

    memslots: list[MemslotOut]
    next_page_token: str


def memslot_out(view: MemslotView) -> MemslotOut:
    """Project a memslot."""
    flags: list[Literal["LOG_DIRTY_PAGES", "READONLY"]] = []
    if MemslotFlags.LOG_DIRTY_PAGES in view.flags:
        flags.append("LOG_DIRTY_PAGES")
    if MemslotFlags.READONLY in view.flags:
        flags.append("READONLY")
    return {
        "slot": view.slot,
        "guest_phys_addr": hex_of(view.guest_phys_addr),
        "memory_size": view.memory_size,
        "userspace_addr": hex_of(view.userspace_addr),
        "flags": flags,
        "backing": view.backing,
        "base_gfn": view.base_gfn,
        "npages": view.npages,
        "dirty_count": view.dirty_count,
    }


def memslot_change_out(outcome: MemslotOutcome) -> MemslotChangeOut:
    """Project what the ioctl did."""
    return {**memslot_out(outcome.memslot), "change": outcome.change.value}
