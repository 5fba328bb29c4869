"""Every operation on a machine as a frozen value, and every outcome: the seam of the project.

`Machine.perform(action)` is the only way to change a machine. Routes, the batch and whatever comes
later (recording, replay, scale-out) speak these values and nothing else; the same actions in the
same order always end in the same machine. Arrays in an action are never written by the machine.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.sim.arm64.descriptor import LeafState
from hacdbs_sim.sim.arm64.dirty_bit import KernelProfile
from hacdbs_sim.sim.arm64.faults import (
    FaultSpec,
    FaultType,
    FaultView,
    FaultWhen,
    LastHit,
    LogOp,
)
from hacdbs_sim.sim.arm64.hacdbs import UnitStatus, UnitView
from hacdbs_sim.sim.arm64.stage2 import Stage2Run
from hacdbs_sim.model.pages import Gfns, PageRanges, PageSet
from hacdbs_sim.model.units import KIB
from hacdbs_sim.sim.guest.clock import ClockView
from hacdbs_sim.sim.guest.costs import KNOBS, CostModel, Knob
from hacdbs_sim.sim.guest.patterns import HotSet, Moving, Pattern, Sequential, Uniform, Zipf
from hacdbs_sim.sim.guest.running import GuestRun
from hacdbs_sim.sim.guest.trace import Trace
from hacdbs_sim.sim.guest.workload import Burst, WorkloadSpec, WorkloadView, Writer
from hacdbs_sim.sim.kvm.accesses import AccessOutcome
from hacdbs_sim.sim.kvm.hook import (
    AcceleratorOutcome,
    AcceleratorReport,
    EntryError,
    ErrorReason,
    RunTrace,
)
from hacdbs_sim.sim.kvm.memslots import MemslotChange
from hacdbs_sim.sim.kvm.region import MemslotFlags, MemslotView
from hacdbs_sim.sim.kvm.software import NOT_RUN, SoftwareReport

__all__ = [
    "KNOBS",
    "AcceleratorOutcome",
    "AcceleratorReport",
    "AccessOutcome",
    "Action",
    "AddWorkload",
    "AdvanceClock",
    "ArmFault",
    "Bitmap",
    "Burst",
    "ClearDirtyLog",
    "ClockView",
    "CostModel",
    "DirtyLogOutcome",
    "DisarmFault",
    "EntryError",
    "ErrorReason",
    "FaultSpec",
    "FaultType",
    "FaultView",
    "FaultWhen",
    "Footprint",
    "GetDirtyLog",
    "Gfns",
    "GuestRead",
    "GuestRun",
    "GuestWrite",
    "HostUnmap",
    "HostWrite",
    "HotSet",
    "KernelProfile",
    "Knob",
    "LastHit",
    "LeafState",
    "LogOp",
    "MachineConfig",
    "MemslotChange",
    "MemslotFlags",
    "MemslotOutcome",
    "MemslotView",
    "Moving",
    "PageRanges",
    "PageSet",
    "Pattern",
    "RemoveWorkload",
    "RunGuest",
    "RunTrace",
    "Sequential",
    "SetCpuOnline",
    "SetEagerSplitChunkSize",
    "SetManualProtect",
    "SetMemoryRegion",
    "SoftwareReport",
    "Stage2Page",
    "Stage2Run",
    "Trace",
    "TrackVersions",
    "Uniform",
    "UnitStatus",
    "UnitView",
    "WorkloadSpec",
    "WorkloadView",
    "Writer",
    "Zipf",
]


MANUAL_PROTECT_ENABLE: Final = 1
MANUAL_PROTECT_AND_INIT_SET: Final = 3


@dataclass(frozen=True, slots=True)
class MachineConfig:
    """How a machine is made. Sizes in bytes.

    `manual_dirty_log_protect2` and `eager_split_chunk_size` may change later by their actions.
    """

    page_size: int = 4 * KIB
    ipa_bits: int = 40
    vcpus: int = 1
    cpus: int = 4
    dbm: bool = True
    hacdbs: bool = True
    manual_dirty_log_protect2: int = 0
    eager_split_chunk_size: int = 0
    kernel: KernelProfile = KernelProfile.FIXED
    seed: int = 0
    costs: CostModel = field(default_factory=CostModel)

    @property
    def protects_manually(self) -> bool:
        """kvm->manual_dirty_log_protect: a get is a copy, and clears clean."""
        return bool(self.manual_dirty_log_protect2 & MANUAL_PROTECT_ENABLE)

    @property
    def initially_set(self) -> bool:
        """kvm_dirty_log_manual_protect_and_init_set(): logs begin full, and gets and clears split."""
        return self.manual_dirty_log_protect2 == MANUAL_PROTECT_AND_INIT_SET


@dataclass(frozen=True, slots=True)
class SetMemoryRegion:
    """KVM_SET_USER_MEMORY_REGION: create, move, change flags, or (memory_size 0) delete.

    Addresses and sizes in bytes. `userspace_addr` None means `guest_phys_addr`; `backing` None
    means the page size. `flags` is raw, so that an unknown bit can be refused as the kernel does.
    """

    slot: int
    guest_phys_addr: int = 0
    memory_size: int = 0
    userspace_addr: int | None = None
    flags: int = 0
    backing: int | None = None


@dataclass(frozen=True, slots=True)
class SetManualProtect:
    """KVM_ENABLE_CAP of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: 0, 1 or 3 (domain.md A.4)."""

    flags: int


@dataclass(frozen=True, slots=True)
class SetEagerSplitChunkSize:
    """KVM_ENABLE_CAP of KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE, in bytes (domain.md A.6)."""

    chunk_size_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class GuestWrite:
    """Writes by a vCPU to a batch of guest frames."""

    pages: PageSet
    vcpu: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class GuestRead:
    """Reads by a vCPU of a batch of guest frames."""

    pages: PageSet
    vcpu: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class HostWrite:
    """Writes by the host kernel (kvm_write_guest, the vGIC): mark the log, leave stage 2 alone."""

    pages: PageSet


@dataclass(frozen=True, slots=True, eq=False)
class HostUnmap:
    """An MMU notifier's unmap: pages and whole blocks leave stage 2, the log stays."""

    pages: PageSet


@dataclass(frozen=True, slots=True)
class GetDirtyLog:
    """KVM_GET_DIRTY_LOG of one slot; `cpu` None takes the online CPUs in turn."""

    slot: int
    cpu: int | None = None
    trace: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Bitmap:
    """The user's dirty bitmap: little-endian uint64 words, bit 0 is the window's first page."""

    words: NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class ClearDirtyLog:
    """KVM_CLEAR_DIRTY_LOG of a window of one slot.

    `pages` is the ioctl's bitmap (exactly ALIGN(num_pages, 64) / 64 words), or ranges of pages
    counted from the slot's start. `num_pages` None reaches to the slot's end.
    """

    slot: int
    pages: Bitmap | PageRanges
    first_page: int = 0
    num_pages: int | None = None
    cpu: int | None = None
    trace: bool = False


@dataclass(frozen=True, slots=True)
class SetCpuOnline:
    """Plug a host CPU in or out; its HACDBS unit goes with it."""

    cpu: int
    online: bool


@dataclass(frozen=True, slots=True)
class ArmFault:
    """Arm a fault; it takes effect at the next get or clear."""

    spec: FaultSpec


@dataclass(frozen=True, slots=True)
class DisarmFault:
    """Take a fault off the machine; a call in flight keeps the faults it started with."""

    fault_id: str


@dataclass(frozen=True, slots=True)
class AddWorkload:
    """Give the guest (or the host beside it) something to write whenever it runs."""

    spec: WorkloadSpec


@dataclass(frozen=True, slots=True)
class RemoveWorkload:
    """Take a workload off."""

    workload_id: str


@dataclass(frozen=True, slots=True)
class AdvanceClock:
    """Let virtual time pass while the guest is paused; nanoseconds."""

    duration_ns: int


@dataclass(frozen=True, slots=True)
class RunGuest:
    """Let the workloads write for so many nanoseconds of virtual time.

    `throttle_percent` of the time the vCPUs are kept from running, as auto-converge does.
    """

    duration_ns: int
    throttle_percent: int = 0


@dataclass(frozen=True, slots=True)
class TrackVersions:
    """Keep, or stop keeping, the number of the write that last touched each page."""

    enabled: bool


Action: TypeAlias = (
    SetMemoryRegion
    | SetManualProtect
    | SetEagerSplitChunkSize
    | GuestWrite
    | GuestRead
    | HostWrite
    | HostUnmap
    | GetDirtyLog
    | ClearDirtyLog
    | SetCpuOnline
    | ArmFault
    | DisarmFault
    | AddWorkload
    | RemoveWorkload
    | AdvanceClock
    | RunGuest
    | TrackVersions
)


@dataclass(frozen=True, slots=True)
class MemslotOutcome:
    """What KVM_SET_USER_MEMORY_REGION did; after a delete `memslot` echoes the request, 0 pages."""

    change: MemslotChange
    memslot: MemslotView


class DirtyLogOutcome(NamedTuple):
    """What a get, a clear or a peek did.

    Attributes:
        bitmap: uint64 words, bit 0 of word 0 is the slot's first page; ALIGN(npages, 64) / 64 of
            them. A clear answers no pages: None.
        dirty_count: Pages returned; for a clear, pages removed from the log.
        remaining_count: Pages left in the slot's log.
        accelerator: None where the hook was not called (peek, get with manual protect).
    """

    slot: int
    first_page: int
    num_pages: int
    bitmap: NDArray[np.uint64] | None
    dirty_count: int
    remaining_count: int
    accelerator: AcceleratorReport | None = None
    software: SoftwareReport = NOT_RUN
    flush_tlb: bool = False


@dataclass(frozen=True, slots=True)
class Stage2Page:
    """A page of an answer about stage 2: runs, and the gfn to go on from (None at the end)."""

    runs: tuple[Stage2Run, ...]
    next_gfn: int | None


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a machine holds: guest pages in all slots, and bytes of planes and bitmaps for them."""

    pages: int
    state_bytes: int
