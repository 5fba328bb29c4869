"""The machines under comparison: real KVM and the core; `service.py` has the service over HTTP."""

from dataclasses import replace
from typing import Any, Final

import numpy as np

from hacdbs_sim.model import (
    AccessOutcome,
    Action,
    Bitmap,
    ClearDirtyLog,
    DirtyLog,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    SetMemslot,
    UpdateVm,
)
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.sim.machine import Machine
from tests.oracle import guest, kvm
from tests.oracle.answers import Answer
from tests.oracle.ground import (
    ARENA_BYTES,
    USER_BASE,
    Access,
    HostFacts,
    flags_of,
    gfns_of,
)
from tests.oracle.setups import BACKINGS, Setup

_FILLER: Final = np.uint64(0xA5A5_A5A5_A5A5_A5A5)


class RealHost:
    """/dev/kvm with memory for its VMs: one VM at a time."""

    def __init__(self) -> None:
        self._kvm = kvm.Kvm()
        self._control = kvm.Arena(guest.SIZE_BYTES, huge=False)
        self._arenas = {
            backing: kvm.Arena(ARENA_BYTES, huge=backing > kvm.PAGE_SIZE) for backing in BACKINGS
        }
        self.facts = HostFacts(
            nr_memslots=self._kvm.check_extension(kvm.CAP_NR_MEMSLOTS),
            address_spaces=max(self._kvm.check_extension(kvm.CAP_MULTI_ADDRESS_SPACE), 1),
        )

    def start(self, setup: Setup) -> "RealSide":
        """Make a VM; real KVM knows the backing, and nothing else of a setup."""
        return RealSide(kvm.KvmVm(self._kvm, self._control), self._arenas[setup.backing])

    def close(self) -> None:
        """Close the device."""
        self._kvm.close()


class RealSide:
    """One VM of the real KVM."""

    def __init__(self, vm: kvm.KvmVm, arena: kvm.Arena) -> None:
        self._vm = vm
        self._arena = arena
        self._slots: dict[int, SetMemslot] = {}
        self._bitmap = np.empty(ARENA_BYTES // kvm.PAGE_SIZE // 64 + 1, np.uint64)

    def close(self) -> None:
        """Destroy the VM."""
        self._vm.close()

    def perform(self, action: Action[Any]) -> Answer:
        """Perform an action by ioctl, or by the guest."""
        match action:
            case SetMemslot():
                return self._set_memory_region(action)
            case UpdateVm():
                flags = flags_of(action)
                return Answer(self._vm.enable_cap(kvm.CAP_MANUAL_DIRTY_LOG_PROTECT2, flags))
            case GuestWrite() | GuestRead() | HostWrite() | HostUnmap():
                return self._access(action)
            case GetDirtyLog():
                return self._get_dirty_log(action)
            case ClearDirtyLog(pages=Bitmap(words), num_pages=int(num_pages)):
                first_page = action.first_page
                return Answer(self._vm.clear_dirty_log(action.slot, first_page, num_pages, words))
            case _:
                raise AssertionError(f"real KVM has nothing like {action}")

    def _access(self, action: Access) -> Answer:
        gfns = gfns_of(action)
        match action:
            case GuestWrite():
                return Answer(mmio_exits=self._vm.touch(guest.Touch.WRITE, gfns))
            case GuestRead():
                return Answer(mmio_exits=self._vm.touch(guest.Touch.READ, gfns))
            case HostWrite():
                for gfn in gfns.tolist():
                    self._vm.write_as_host(gfn)
            case HostUnmap():
                for gfn in gfns.tolist():
                    self._unmap(gfn)
        return Answer()

    def _set_memory_region(self, action: SetMemslot) -> Answer:
        user = action.userspace_addr
        assert user is not None, "sequences say where a slot's memory is"
        if USER_BASE <= user < USER_BASE + ARENA_BYTES:
            user += self._arena.address - USER_BASE
        answer = Answer(
            self._vm.set_user_memory_region(
                action.slot, action.flags, action.guest_phys_addr, action.memory_size, user
            )
        )
        if answer.errno is None:
            self._slots[action.slot] = action
        return answer

    def _unmap(self, gfn: int) -> None:
        """Return the memory behind a page: the kernel's MMU notifier has KVM unmap it first."""
        for region in self._slots.values():
            offset = gfn * kvm.PAGE_SIZE - region.guest_phys_addr
            if 0 <= offset < region.memory_size:
                assert region.userspace_addr is not None
                self._arena.discard(region.userspace_addr - USER_BASE + offset)

    def _get_dirty_log(self, action: GetDirtyLog) -> Answer:
        self._bitmap.fill(_FILLER)
        errno = self._vm.get_dirty_log(action.slot, self._bitmap)
        if errno is not None:
            return Answer(errno)
        words = -(-self._slots[action.slot].memory_size // kvm.PAGE_SIZE // 64)
        assert (self._bitmap[words:] == _FILLER).all(), "the bitmap has ALIGN(npages, 64) bits"
        return Answer(bitmap=self._bitmap[:words].tobytes())


class CoreSide:
    """The simulated machine, by its actions."""

    def __init__(self, setup: Setup) -> None:
        self._machine = Machine(setup.config())
        self._backing = setup.backing
        for fault in setup.faults():
            self._machine.perform(fault)

    def close(self) -> None:
        """Nothing to release."""

    def perform(self, action: Action[Any]) -> Answer:
        """Perform an action; every slot has the backing of the sequence."""
        try:
            outcome = self._outcome(action)
        except KvmError as error:
            return Answer(str(error.errno or error.code))
        match outcome:
            case DirtyLog(bitmap=Bitmap(words)):
                return Answer(bitmap=words.astype("<u8").tobytes())
            case AccessOutcome() if isinstance(action, GuestWrite | GuestRead):
                return Answer(mmio_exits=outcome.mmio_exits)
            case _:
                return Answer()

    def _outcome(self, action: Action[Any]) -> object:
        if isinstance(action, SetMemslot):
            return self._machine.perform(replace(action, backing=self._backing))
        return self._machine.perform(action)
