"""A small driver for /dev/kvm on x86-64: one VM, one vCPU, memslots and the dirty log.

Nothing here knows the simulator. Every ioctl that the oracle compares returns the name of its errno,
or None; what only sets a VM up raises OSError instead. Layouts and numbers are those of linux/kvm.h.
"""

import ctypes
import fcntl
import mmap
import os
import platform
import struct
from collections.abc import Callable
from errno import errorcode
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.oracle import guest

DEVICE: Final = Path("/dev/kvm")
API_VERSION: Final = 12

PAGE_SIZE: Final = 4096
HUGE_PAGE_SIZE: Final = 2 << 20

CAP_NR_MEMSLOTS: Final = 10
CAP_READONLY_MEM: Final = 81
CAP_MULTI_ADDRESS_SPACE: Final = 118
CAP_MANUAL_DIRTY_LOG_PROTECT2: Final = 168
MANUAL_CAPS: Final = 3

EXIT_MMIO: Final = 6

TSS_ADDR: Final = 0x7000_0000
"""Three pages for Intel's real mode, the identity map's page before them: where no sequence goes, and
below 2 GiB because fcntl.ioctl takes no larger integer."""

_WRITE, _READ = 1, 2


def _request(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | 0xAE << 8 | number


_GET_API_VERSION: Final = _request(0, 0x00, 0)
_CREATE_VM: Final = _request(0, 0x01, 0)
_CHECK_EXTENSION: Final = _request(0, 0x03, 0)
_GET_VCPU_MMAP_SIZE: Final = _request(0, 0x04, 0)
_GET_SUPPORTED_CPUID: Final = _request(_READ | _WRITE, 0x05, 8)
_CREATE_VCPU: Final = _request(0, 0x41, 0)
_GET_DIRTY_LOG: Final = _request(_WRITE, 0x42, 16)
_SET_USER_MEMORY_REGION: Final = _request(_WRITE, 0x46, 32)
_SET_TSS_ADDR: Final = _request(0, 0x47, 0)
_SET_IDENTITY_MAP_ADDR: Final = _request(_WRITE, 0x48, 8)
_RUN: Final = _request(0, 0x80, 0)
_SET_REGS: Final = _request(_WRITE, 0x82, 144)
_GET_SREGS: Final = _request(_READ, 0x83, 312)
_SET_SREGS: Final = _request(_WRITE, 0x84, 312)
_SET_MSRS: Final = _request(_WRITE, 0x89, 8)
_SET_CPUID2: Final = _request(_WRITE, 0x90, 8)
_ENABLE_CAP: Final = _request(_WRITE, 0xA3, 104)
_CLEAR_DIRTY_LOG: Final = _request(_READ | _WRITE, 0xC0, 24)

_CPUID_ENTRIES: Final = 256
_MSR_KVM_WALL_CLOCK_NEW: Final = 0x4B56_4D00
_WALL_CLOCK_OFFSET: Final = 64
"""Where in a page KVM is to write; not 0, because guest physical address 0 means nowhere."""


def why_unusable() -> str | None:
    """Return why real KVM cannot be the oracle here; None if it can."""
    if platform.machine() != "x86_64":
        return f"the driver of /dev/kvm speaks x86-64 only, and this is {platform.machine()}"
    if not DEVICE.exists():
        return f"{DEVICE} does not exist: this kernel offers no virtual machines"
    try:
        device = Kvm()
    except OSError as error:
        return f"{DEVICE} cannot be used: {error}"
    caps = device.check_extension(CAP_MANUAL_DIRTY_LOG_PROTECT2)
    readonly = device.check_extension(CAP_READONLY_MEM)
    device.close()
    if caps != MANUAL_CAPS or not readonly:
        return f"{DEVICE} lacks capabilities: manual protect {caps}, read-only memory {readonly}"
    return None


def errno_of(call: Callable[[], object]) -> str | None:
    """Make a call; return the name of the errno that it is refused with."""
    try:
        call()
    except OSError as error:
        return errorcode[error.errno or 0]
    return None


class Kvm:
    """/dev/kvm, open."""

    def __init__(self) -> None:
        self.fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        version = fcntl.ioctl(self.fd, _GET_API_VERSION, 0)
        if version != API_VERSION:
            os.close(self.fd)
            raise OSError(f"KVM's API is version {version}, not {API_VERSION}")
        self.vcpu_mmap_size = fcntl.ioctl(self.fd, _GET_VCPU_MMAP_SIZE, 0)
        self.cpuid = bytearray(struct.pack("=II", _CPUID_ENTRIES, 0)) + bytes(40 * _CPUID_ENTRIES)
        fcntl.ioctl(self.fd, _GET_SUPPORTED_CPUID, self.cpuid)

    def close(self) -> None:
        """Close the device; its VMs live on."""
        os.close(self.fd)

    def check_extension(self, capability: int) -> int:
        """KVM_CHECK_EXTENSION."""
        return fcntl.ioctl(self.fd, _CHECK_EXTENSION, capability)


class Arena:
    """Anonymous memory for memslots, its start aligned to a huge page.

    Args:
        size_bytes: How much.
        huge: Whether to request huge pages of the kernel, or none.
    """

    def __init__(self, size_bytes: int, *, huge: bool) -> None:
        self._page = HUGE_PAGE_SIZE if huge else PAGE_SIZE
        self._map = mmap.mmap(
            -1, size_bytes + HUGE_PAGE_SIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        )
        self._map.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.address = -(-start // HUGE_PAGE_SIZE) * HUGE_PAGE_SIZE
        self._skip = self.address - start

    def write(self, offset: int, content: bytes) -> None:
        """Put bytes into the memory."""
        self._map[self._skip + offset : self._skip + offset + len(content)] = content

    def discard(self, offset: int) -> None:
        """Return one page of the memory to the kernel (a whole huge one, where requested)."""
        start = self._skip + offset // self._page * self._page
        self._map.madvise(mmap.MADV_DONTNEED, start, self._page)


class KvmVm:
    """A virtual machine with one vCPU in 64-bit mode and a slot of its own for what that runs.

    Args:
        kvm: The device.
        control: Memory for the guest's code, page tables and list of pages; a VM at a time.
    """

    def __init__(self, kvm: Kvm, control: Arena) -> None:
        self._fd = fcntl.ioctl(kvm.fd, _CREATE_VM, 0)
        self._control = control
        # Intel without unrestricted guests wants both; others take or refuse them, and it is all one.
        errno_of(lambda: fcntl.ioctl(self._fd, _SET_TSS_ADDR, TSS_ADDR))
        identity_map = struct.pack("=Q", TSS_ADDR - PAGE_SIZE)
        errno_of(lambda: fcntl.ioctl(self._fd, _SET_IDENTITY_MAP_ADDR, identity_map))
        self._vcpu = fcntl.ioctl(self._fd, _CREATE_VCPU, 0)
        self._run = mmap.mmap(self._vcpu, kvm.vcpu_mmap_size)
        fcntl.ioctl(self._vcpu, _SET_CPUID2, kvm.cpuid)
        control.write(0, guest.image())
        control_slot = kvm.check_extension(CAP_NR_MEMSLOTS) - 1
        refused = self.set_user_memory_region(
            control_slot, 0, guest.BASE, guest.SIZE_BYTES, control.address
        )
        assert refused is None, f"the control slot is legal: {refused}"
        sregs = bytearray(312)
        fcntl.ioctl(self._vcpu, _GET_SREGS, sregs)
        fcntl.ioctl(self._vcpu, _SET_SREGS, guest.sregs(bytes(sregs)))
        fcntl.ioctl(self._vcpu, _SET_REGS, guest.regs())
        assert self._mmio_exit() == guest.DOORBELL, "the guest rings before all else"

    def close(self) -> None:
        """Destroy the VM."""
        self._run.close()
        os.close(self._vcpu)
        os.close(self._fd)

    def set_user_memory_region(
        self, slot: int, flags: int, guest_phys_addr: int, memory_size: int, userspace_addr: int
    ) -> str | None:
        """KVM_SET_USER_MEMORY_REGION."""
        region = struct.pack("=IIQQQ", slot, flags, guest_phys_addr, memory_size, userspace_addr)
        return errno_of(lambda: fcntl.ioctl(self._fd, _SET_USER_MEMORY_REGION, region))

    def enable_cap(self, capability: int, argument: int) -> str | None:
        """KVM_ENABLE_CAP of the VM, with one argument."""
        cap = struct.pack("=IIQ88x", capability, 0, argument)
        return errno_of(lambda: fcntl.ioctl(self._fd, _ENABLE_CAP, cap))

    def get_dirty_log(self, slot: int, words: NDArray[np.uint64]) -> str | None:
        """KVM_GET_DIRTY_LOG into `words`, which must have room for the whole bitmap."""
        log = struct.pack("=IIQ", slot, 0, words.ctypes.data)
        return errno_of(lambda: fcntl.ioctl(self._fd, _GET_DIRTY_LOG, log))

    def clear_dirty_log(
        self, slot: int, first_page: int, num_pages: int, words: NDArray[np.uint64]
    ) -> str | None:
        """KVM_CLEAR_DIRTY_LOG of the bits set in `words`, whose bit 0 is `first_page`."""
        log = struct.pack("=IIQQ", slot, num_pages, first_page, words.ctypes.data)
        return errno_of(lambda: fcntl.ioctl(self._fd, _CLEAR_DIRTY_LOG, log))

    def touch(self, kind: guest.Touch, gfns: NDArray[np.uint64]) -> int:
        """Have the guest write a byte to each page in turn, or read one; return the exits for MMIO."""
        exits = 0
        for start in range(0, len(gfns), guest.LIST_ENTRIES):
            part = gfns[start : start + guest.LIST_ENTRIES] * np.uint64(PAGE_SIZE)
            self._control.write(guest.MAILBOX, guest.letter(kind, part.tobytes()))
            # A write is lost, and a read returns what the last exit left: nothing uses it.
            while self._mmio_exit() != guest.DOORBELL:
                exits += 1
        return exits

    def write_as_host(self, gfn: int) -> None:
        """Have KVM itself write to a page (kvm_write_guest): it stores the time there."""
        address = gfn * PAGE_SIZE + _WALL_CLOCK_OFFSET
        msrs = struct.pack("=IIIIQ", 1, 0, _MSR_KVM_WALL_CLOCK_NEW, 0, address)
        # Only for a buffer that could change does ioctl() return the call's result.
        count = fcntl.ioctl(self._vcpu, _SET_MSRS, bytearray(msrs))
        assert count == 1, "every x86 KVM has this clock"

    def _mmio_exit(self) -> int:
        """Run the guest up to its next exit for MMIO; return the guest physical address."""
        fcntl.ioctl(self._vcpu, _RUN, 0)
        reason, address = struct.unpack_from("=8xI20xQ", self._run)  # exit_reason, mmio.phys_addr
        assert reason == EXIT_MMIO, f"KVM_RUN ended with exit reason {reason}"
        return int(address)
