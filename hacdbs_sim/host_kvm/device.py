"""A small driver for /dev/kvm on x86-64: one VM, one vCPU, memslots and the dirty log.

Nothing here knows the model. What the kernel refuses is an OSError with the kernel's errno. Layouts
and numbers are those of linux/kvm.h.
"""

import fcntl
import mmap
import os
import platform
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.host_kvm import guest
from hacdbs_sim.host_kvm.memory import PAGE_SIZE, GuestMemory

DEVICE: Final = Path("/dev/kvm")
API_VERSION: Final = 12

CAP_NR_MEMSLOTS: Final = 10
CAP_READONLY_MEM: Final = 81
CAP_MULTI_ADDRESS_SPACE: Final = 118
CAP_MANUAL_DIRTY_LOG_PROTECT2: Final = 168
MANUAL_CAPS: Final = 3

EXIT_MMIO: Final = 6

TSS_ADDR: Final = 0x7000_0000
"""Three pages for Intel's real mode, the identity map's page before them; below 2 GiB because fcntl.ioctl takes no larger
integer. Only KVM on Intel without unrestricted guests has anything there."""

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
"""Where in a page KVM writes the time; not 0, because guest physical address 0 means nowhere."""


def why_unusable() -> str | None:
    """Return why this machine has no KVM that can be used here; None if it has."""
    if platform.machine() != "x86_64":
        return f"it needs x86-64, and this machine is {platform.machine()}"
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


class GuestStoppedError(OSError):
    """The guest ended where it never should; the VM is of no more use for accesses."""


class Kvm:
    """/dev/kvm, open."""

    def __init__(self) -> None:
        self.fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        try:
            version = fcntl.ioctl(self.fd, _GET_API_VERSION, 0)
            if version != API_VERSION:
                raise OSError(  # noqa: TRY301 - the descriptor is closed below
                    f"KVM's API is version {version}, not {API_VERSION}"
                )
            self.vcpu_mmap_size = fcntl.ioctl(self.fd, _GET_VCPU_MMAP_SIZE, 0)
            head = struct.pack("=II", _CPUID_ENTRIES, 0)
            self.cpuid = bytearray(head) + bytes(40 * _CPUID_ENTRIES)
            fcntl.ioctl(self.fd, _GET_SUPPORTED_CPUID, self.cpuid)
        except BaseException:
            os.close(self.fd)
            raise

    def close(self) -> None:
        """Close the device; its VMs live on."""
        os.close(self.fd)

    def check_extension(self, capability: int) -> int:
        """KVM_CHECK_EXTENSION."""
        return fcntl.ioctl(self.fd, _CHECK_EXTENSION, capability)


class KvmVm:
    """A virtual machine with one vCPU in 64-bit mode and a slot of its own for what that runs.

    Attributes:
        control_slot: The number of its own slot.
        control: What is behind it: the program, its page tables and its mailbox.
    """

    def __init__(self, kvm: Kvm) -> None:
        self.control = GuestMemory(guest.SIZE_BYTES)
        self._fds: list[int] = []
        self._run: mmap.mmap | None = None
        self._must_restart = True
        self.control_slot = kvm.check_extension(CAP_NR_MEMSLOTS) - 1
        try:
            self._make(kvm)
        except BaseException:
            self.close()
            raise

    def _make(self, kvm: Kvm) -> None:
        self._fd = fcntl.ioctl(kvm.fd, _CREATE_VM, 0)
        self._fds.append(self._fd)
        # Intel without unrestricted guests wants both; others take or refuse them, and either is right
        with suppress(OSError):
            fcntl.ioctl(self._fd, _SET_TSS_ADDR, TSS_ADDR)
        with suppress(OSError):
            identity_map = struct.pack("=Q", TSS_ADDR - PAGE_SIZE)
            fcntl.ioctl(self._fd, _SET_IDENTITY_MAP_ADDR, identity_map)
        self._vcpu = fcntl.ioctl(self._fd, _CREATE_VCPU, 0)
        self._fds.append(self._vcpu)
        self._run = mmap.mmap(self._vcpu, kvm.vcpu_mmap_size)
        fcntl.ioctl(self._vcpu, _SET_CPUID2, kvm.cpuid)
        self.control.write(0, guest.image())
        self.set_user_memory_region(
            self.control_slot, 0, guest.BASE, guest.SIZE_BYTES, self.control.address
        )
        sregs = bytearray(312)
        fcntl.ioctl(self._vcpu, _GET_SREGS, sregs)
        fcntl.ioctl(self._vcpu, _SET_SREGS, guest.sregs(bytes(sregs)))
        self._restart()

    def close(self) -> None:
        """Destroy the VM, and free its own memory; what its other slots have is their maker's."""
        if self._run is not None:
            self._run.close()
            self._run = None
        while self._fds:
            os.close(self._fds.pop())
        self.control.close()

    def set_user_memory_region(
        self, slot: int, flags: int, guest_phys_addr: int, memory_size: int, userspace_addr: int
    ) -> None:
        """KVM_SET_USER_MEMORY_REGION."""
        region = struct.pack("=IIQQQ", slot, flags, guest_phys_addr, memory_size, userspace_addr)
        fcntl.ioctl(self._fd, _SET_USER_MEMORY_REGION, region)

    def enable_cap(self, capability: int, argument: int) -> None:
        """KVM_ENABLE_CAP of the VM, with one argument."""
        fcntl.ioctl(self._fd, _ENABLE_CAP, struct.pack("=IIQ88x", capability, 0, argument))

    def get_dirty_log(self, slot: int, words: NDArray[np.uint64]) -> None:
        """KVM_GET_DIRTY_LOG into `words`, which must have room for the whole bitmap."""
        fcntl.ioctl(self._fd, _GET_DIRTY_LOG, struct.pack("=IIQ", slot, 0, words.ctypes.data))

    def clear_dirty_log(
        self, slot: int, first_page: int, num_pages: int, words: NDArray[np.uint64]
    ) -> None:
        """KVM_CLEAR_DIRTY_LOG of the bits set in `words`, whose bit 0 is `first_page`."""
        log = struct.pack("=IIQQ", slot, num_pages, first_page, words.ctypes.data)
        fcntl.ioctl(self._fd, _CLEAR_DIRTY_LOG, log)

    def touch(self, kind: guest.Touch, gfns: NDArray[np.uint64]) -> int:
        """Let the guest write a byte to each page in turn, or read one; return its exits for MMIO.

        After an OSError some of the pages have not been touched.
        """
        if self._must_restart:
            self._restart()
        exits = 0
        self._must_restart = True
        for start in range(0, len(gfns), guest.LIST_ENTRIES):
            part = gfns[start : start + guest.LIST_ENTRIES] * np.uint64(PAGE_SIZE)
            self.control.write(guest.MAILBOX, guest.letter(kind, part.tobytes()))
            # A write is lost, and a read returns what the last exit left: nobody looks at it
            while self._mmio_exit() != guest.DOORBELL:
                exits += 1
        self._must_restart = False
        return exits

    def write_as_host(self, gfn: int) -> None:
        """Let KVM itself write to a page (kvm_write_guest): it puts the time of day there."""
        address = gfn * PAGE_SIZE + _WALL_CLOCK_OFFSET
        msrs = struct.pack("=IIIIQ", 1, 0, _MSR_KVM_WALL_CLOCK_NEW, 0, address)
        # Only for a buffer that could change does ioctl() return what the call returned
        if fcntl.ioctl(self._vcpu, _SET_MSRS, bytearray(msrs)) != 1:
            raise GuestStoppedError("KVM does not write the time of day into guest memory")

    def _restart(self) -> None:
        """Let the program begin, up to its first ring."""
        fcntl.ioctl(self._vcpu, _SET_REGS, guest.regs())
        if (address := self._mmio_exit()) != guest.DOORBELL:
            raise GuestStoppedError(f"the guest began with an access to {address:#x}")
        self._must_restart = False

    def _mmio_exit(self) -> int:
        """Run the guest up to its next exit for MMIO; return the guest physical address."""
        assert self._run is not None, "the VM has not been destroyed"
        while True:
            try:
                fcntl.ioctl(self._vcpu, _RUN, 0)
            except InterruptedError:
                continue  # a signal for this process, and none for the guest
            break
        reason, address = struct.unpack_from("=8xI20xQ", self._run)  # exit_reason, mmio.phys_addr
        if reason != EXIT_MMIO:
            raise GuestStoppedError(f"KVM_RUN ended with exit reason {reason}")
        return int(address)
