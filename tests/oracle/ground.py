"""The common ground: what x86-64 and arm64 must answer alike, and what is left out because they need not.

The generic dirty log is one piece of code for both, but what lies around it is not. `Ground.why_not`
names each difference in one sentence; an action that leaves the common ground is performed on neither
side and counted under that sentence, so nothing is hidden. Two more differences need no rule: x86
with two-dimensional paging, PML or eager splitting may *protect* pages in other units, yet the log
that userspace sees is one bit a 4 KiB page everywhere; and guest page tables lie in a slot that does
not log, so the bits that the CPU sets in them never show.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.host_kvm import guest
from hacdbs_sim.host_kvm.device import TSS_ADDR
from hacdbs_sim.host_kvm.memory import PAGE_SIZE
from hacdbs_sim.model import (
    ClearDirtyLog,
    GetDirtyLog,
    Gfns,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    SetMemslot,
    UpdateVm,
)
from tests.oracle.answers import Answer

Access: TypeAlias = GuestWrite | GuestRead | HostWrite | HostUnmap
OracleAction: TypeAlias = SetMemslot | UpdateVm | Access | GetDirtyLog | ClearDirtyLog

LOG: Final = 1
READONLY: Final = 2
MANUAL_AND_INIT_SET: Final = 3

USER_BASE: Final = 1 << 40
"""Where sequences see the memory behind slots."""

ARENA_BYTES: Final = 64 << 20

ARM64_USER_VA_BITS: Final = 52

PHYS_END: Final = 6 << 30
"""No slot of a sequence ends, and no page it accesses lies, beyond this guest physical address."""

_SIM_NR_MEMSLOTS: Final = 32767
_MAX_MEMSLOT_PAGES: Final = (1 << 31) - 1
_PRIVATE: Final = range(TSS_ADDR - PAGE_SIZE, TSS_ADDR + 3 * PAGE_SIZE)
_PRIVATE_SLOTS: Final = "x86 has private slots for Intel's real mode there"


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What of the real KVM the ground depends on.

    Attributes:
        nr_memslots: KVM_CAP_NR_MEMSLOTS; x86 reserves some of the ids that arm64 leaves free.
        address_spaces: KVM_CAP_MULTI_ADDRESS_SPACE; two with SMM on x86, one on arm64.
    """

    nr_memslots: int = 32764
    address_spaces: int = 1


@dataclass(frozen=True, slots=True)
class Known:
    """A slot as it was last accepted.

    Attributes:
        region: The call that made it so.
        is_unprotected: Logging came on while initially-set put the protection off.
    """

    region: SetMemslot
    is_unprotected: bool = False

    @property
    def base_gfn(self) -> int:
        """The first guest frame number."""
        return self.region.guest_phys_addr // PAGE_SIZE

    @property
    def npages(self) -> int:
        """The length in pages."""
        return self.region.memory_size // PAGE_SIZE

    @property
    def is_logging(self) -> bool:
        """Whether guest writes to it are logged."""
        return self.region.flags == LOG


class Ground:
    """What has been made on both sides so far, by the real side's answers, and what may come next."""

    def __init__(self, facts: HostFacts, backing: int) -> None:
        self._facts = facts
        self.backing = backing
        self.slots: dict[int, Known] = {}
        self.manual_protect = 0
        self.last_got: dict[int, bytes] = {}

    def note(self, action: OracleAction, answer: Answer) -> None:
        """Learn from an action and its answer."""
        if answer.errno is not None:
            return
        match action:
            case UpdateVm():
                self.manual_protect = flags_of(action)
            case SetMemslot(memory_size=0):
                del self.slots[action.slot]
                self.last_got.pop(action.slot, None)
            case SetMemslot():
                self.slots[action.slot] = self._known(action)
            case GetDirtyLog():
                assert answer.bitmap is not None, "a get that succeeds has a bitmap"
                self.last_got[action.slot] = answer.bitmap
            case ClearDirtyLog() | GuestWrite() | GuestRead() | HostWrite() | HostUnmap():
                pass

    def _known(self, action: SetMemslot) -> Known:
        old = self.slots.get(action.slot)
        if old is None or old.region.guest_phys_addr != action.guest_phys_addr:
            return Known(action)  # nothing is mapped
        if not action.flags & LOG:
            return Known(action)
        if old.region.flags & LOG:
            return Known(action, old.is_unprotected)
        return Known(action, self.manual_protect == MANUAL_AND_INIT_SET)

    def why_not(self, action: OracleAction) -> str | None:
        """Return why an action is left out of the comparison; None if it is compared."""
        match action:
            case SetMemslot():
                return self._why_not_slot(action.slot) or self._why_not_region(action)
            case GetDirtyLog() | ClearDirtyLog():
                return self._why_not_slot(action.slot)
            case GuestWrite() | GuestRead() | HostWrite() | HostUnmap():
                return self._why_not_access(action)
            case UpdateVm():
                return self._why_not_manual_protect(action)

    def _why_not_slot(self, slot: int) -> str | None:
        address_space, number = slot >> 16, slot & 0xFFFF
        if self._facts.nr_memslots - 1 <= number < _SIM_NR_MEMSLOTS:
            return "slot ids that x86 keeps for itself, and the one that the oracle's guest needs"
        if 0 < address_space < self._facts.address_spaces:
            return "address space 1: SMM on x86, absent on arm64"
        return None

    def _why_not_region(self, action: SetMemslot) -> str | None:
        start, end = action.guest_phys_addr, action.guest_phys_addr + action.memory_size
        assert action.userspace_addr is not None, "sequences say where a slot's memory is"
        user_end = action.userspace_addr + action.memory_size
        if action.memory_size // PAGE_SIZE > _MAX_MEMSLOT_PAGES or end >= 1 << 64:
            return None  # refused by generic code, whatever else is wrong
        if end > PHYS_END:
            return "slots beyond the physical addresses: EFAULT on arm64, EINVAL on x86"
        if start < _PRIVATE.stop and _PRIVATE.start < end:
            return _PRIVATE_SLOTS
        if 1 << ARM64_USER_VA_BITS < user_end < 1 << 63:
            return "memory beyond arm64's userspace: access_ok() bounds differ"
        return None

    def _why_not_access(self, action: Access) -> str | None:
        gfns = gfns_of(action)
        if len(gfns) and int(gfns.max()) * PAGE_SIZE >= PHYS_END:
            return "pages beyond what the oracle's guest maps"
        addresses = gfns * np.uint64(PAGE_SIZE)
        if bool(((addresses >= _PRIVATE.start) & (addresses < _PRIVATE.stop)).any()):
            return _PRIVATE_SLOTS
        if isinstance(action, GuestRead):
            for known in self.slots.values():
                inside = (gfns >= known.base_gfn) & (gfns < known.base_gfn + known.npages)
                if known.is_logging and bool(inside.any()):
                    # arm64 maps it read-only. A false positive is legal, so both are right.
                    return "reads while logging: x86 maps a page writable and marks it dirty"
        return None

    def _why_not_manual_protect(self, action: UpdateVm) -> str | None:
        late = any(known.is_unprotected for known in self.slots.values())
        if late and self.backing > PAGE_SIZE and flags_of(action) in (0, 1):
            # x86 protects huge pages at a clear in initially-set mode only; a huge page that was
            # left writable then takes writes that no log records. Real KVM loses those pages;
            # arm64's software cleaning protects the block that a page lies in, in every mode.
            return "initially-set turned off with huge pages still writable: x86 loses writes"
        return None


def flags_of(action: UpdateVm) -> int:
    """Return the flags of manual protect, all that a sequence updates."""
    flags = action.manual_dirty_log_protect2
    assert flags is not None, "sequences set manual protect"
    return flags


def gfns_of(action: Access) -> NDArray[np.uint64]:
    """Return the guest frames of an access of a sequence, in its order."""
    assert isinstance(action.pages, Gfns), "sequences name guest frames one by one"
    return action.pages.gfns


assert PHYS_END <= guest.BASE, "the oracle's own slot lies beyond all others"
