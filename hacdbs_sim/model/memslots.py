"""Memslots: KVM_SET_USER_MEMORY_REGION (docs/kernel.md A.1)."""

from dataclasses import dataclass
from enum import STRICT, IntFlag, StrEnum
from typing import Annotated

from hacdbs_sim.model import errors
from hacdbs_sim.model.base import Action, Model, Query
from hacdbs_sim.model.kinds import Address, Count, Form, Gfn, Kind, Size, SlotId


class MemslotFlags(IntFlag, boundary=STRICT):
    """KVM_MEM_* flags of a slot; an unknown bit is EINVAL."""

    NONE = 0
    LOG_DIRTY_PAGES = 1
    READONLY = 2


def flag_names(flags: int) -> list[str]:
    """Return the names of the flags that are set (ValueError if a bit has no name)."""
    return [each.name or "" for each in MemslotFlags(flags)]


Flags = Annotated[int, Kind(Form.FLAGS, flags=MemslotFlags)]
"""Raw in an action, so that an unknown bit can be refused as the kernel refuses it."""


class MemslotChange(StrEnum):
    """enum kvm_mr_change, and `none` for a call that changes nothing."""

    CREATE = "create"
    MOVE = "move"
    FLAGS_ONLY = "flags_only"
    NONE = "none"
    DELETE = "delete"


@dataclass(kw_only=True)
class MemslotInfo(Model):
    """A memslot."""

    slot: SlotId
    """Its number."""
    guest_phys_addr: Address
    """Where it begins in the guest."""
    memory_size: Size
    """Its length."""
    userspace_addr: Address
    """Where it is backed."""
    flags: Flags
    """Its KVM_MEM_* flags."""
    backing: Size
    """Size of the pages that back it."""
    base_gfn: Gfn
    """Its first guest frame."""
    npages: Count
    """Its length in pages."""
    dirty_count: Count | None
    """Pages in its dirty log; null where it keeps none."""

    @property
    def is_logging(self) -> bool:
        """Whether the slot keeps a dirty log."""
        return bool(self.flags & MemslotFlags.LOG_DIRTY_PAGES)

    def with_flags(self, flags: int) -> "SetMemslot":
        """Return the call that sets the slot's flags, and nothing else of it."""
        return SetMemslot(
            slot=self.slot,
            guest_phys_addr=self.guest_phys_addr,
            memory_size=self.memory_size,
            userspace_addr=self.userspace_addr,
            flags=flags,
            backing=self.backing,
        )


@dataclass(kw_only=True)
class ChangedMemslot(MemslotInfo):
    """A memslot, and what the call did to it; a delete echoes the request, with 0 pages."""

    change: MemslotChange
    """enum kvm_mr_change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMemslot(Action[ChangedMemslot]):
    """KVM_SET_USER_MEMORY_REGION: create, move, change flags, or (memory_size 0) delete."""

    ioctl = "KVM_SET_USER_MEMORY_REGION"
    refusals = (
        errors.InvalidArgumentError,
        errors.MemslotChangedError,
        errors.MemslotOverlapError,
        errors.BeyondIpaSpaceError,
        errors.NoSuchMemslotError,
    )

    slot: SlotId
    """Its number."""
    guest_phys_addr: Address
    """Where it begins in the guest."""
    memory_size: Size
    """Its length; 0 deletes the slot."""
    userspace_addr: Address | None = None
    """Where it is backed; guest_phys_addr if absent."""
    flags: Flags = 0
    """KVM_MEM_* flags."""
    backing: Size | None = None
    """Size of the backing's pages; page_size if absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteMemslot(Action[ChangedMemslot]):
    """KVM_SET_USER_MEMORY_REGION with a size of 0: delete a slot."""

    ioctl = "KVM_SET_USER_MEMORY_REGION"
    refusals = (errors.NoSuchMemslotError,)

    slot: SlotId
    """Its number."""

    def as_ioctl(self) -> SetMemslot:
        """Return the call of the ioctl that deletes the slot."""
        return SetMemslot(slot=self.slot, guest_phys_addr=0, memory_size=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetMemslot(Query[MemslotInfo]):
    """Show a memslot."""

    refusals = (errors.NoSuchMemslotError,)

    slot: SlotId
    """Its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMemslots(Query[tuple[MemslotInfo, ...]]):
    """List the memslots, ascending by slot number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemslotLife(Model):
    """Which slot a number stands for: one that is deleted and made again is another."""

    slot: SlotId
    """Its number."""
    created: Count
    """The generation of the memslots in which it was made."""
    log: Count | None
    """The generation in which its dirty log began; null where it keeps none."""
    npages: Count
    """Its length in pages."""
    base_gfn: Gfn
    """Its first guest frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetMemslotLife(Query[MemslotLife | None]):
    """Show which slot a number stands for; None: there is none."""

    slot: SlotId
    """Its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMemslotLives(Query[tuple[MemslotLife, ...]]):
    """List which slots there are, ascending by slot number."""
