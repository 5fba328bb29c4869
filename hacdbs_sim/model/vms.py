"""Virtual machines: how they are made, changed and shown."""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Annotated, Any, Final

from annotated_types import Len

from hacdbs_sim.model.base import Action, BackendCapabilities, BackendName, Model, Query, Request
from hacdbs_sim.model.costs import CostModel
from hacdbs_sim.model.errors import InvalidArgumentError, MemslotsPresentError
from hacdbs_sim.model.faults import AnyFault, FaultInfo
from hacdbs_sim.model.kinds import (
    MAX_SLOT,
    Boolean,
    Count,
    CpuCount,
    IpaBits,
    Label,
    ManualProtect,
    PageSize,
    Size,
    VcpuCount,
)
from hacdbs_sim.model.memslots import MemslotInfo, SetMemslot
from hacdbs_sim.model.sessions import DEFAULT_SESSION, SessionId
from hacdbs_sim.model.units import KIB
from hacdbs_sim.model.workloads import AnyWorkload, WorkloadInfo

MAX_FAULTS_PER_VM: Final = 1_000
MAX_WORKLOADS_PER_VM: Final = 64

MANUAL_PROTECT_ENABLE: Final = 1
MANUAL_PROTECT_AND_INIT_SET: Final = 3


class KernelProfile(StrEnum):
    """Which kernel is simulated: the posted patch with its defects fixed, or as it was posted."""

    FIXED = "fixed"
    V1 = "v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Features(Request):
    """What the simulated hardware and kernel have."""

    dbm: Boolean = True
    """Writable leaves get DBM (KVM_PGTABLE_S2_DBM)."""
    hacdbs: Boolean = True
    """The kernel is built with the hook."""


@dataclass(frozen=True, kw_only=True)
class VmConfig(Request):
    """What a VM is made of."""

    page_size: PageSize = 4 * KIB
    """The granule."""
    ipa_bits: IpaBits = 40
    """Width of its intermediate physical addresses."""
    vcpus: VcpuCount = 1
    """Its vCPUs."""
    cpus: CpuCount = 4
    """The host's CPUs, each with a HACDBS unit."""
    features: Features = Features()
    """What the simulated hardware and kernel have."""
    manual_dirty_log_protect2: ManualProtect = 0
    """KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2."""
    eager_split_chunk_size: Size = 0
    """KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE; 0 is off."""
    kernel: KernelProfile = KernelProfile.FIXED
    """Which kernel is simulated."""
    seed: Count = 0
    """Of all that is drawn."""
    costs: CostModel = field(default_factory=CostModel)
    """The cost model, picoseconds by name; what is left out keeps its default."""

    @property
    def protects_manually(self) -> bool:
        """Whether a get is a copy, and clears clean (kvm->manual_dirty_log_protect)."""
        return bool(self.manual_dirty_log_protect2 & MANUAL_PROTECT_ENABLE)

    @property
    def initially_set(self) -> bool:
        """Whether logs begin full, and gets and clears split (manual protect and init-set)."""
        return self.manual_dirty_log_protect2 == MANUAL_PROTECT_AND_INIT_SET

    def settings(self) -> dict[str, Any]:
        """Return the fields of a `VmConfig` by name, also of a VM that has more."""
        return {each.name: getattr(self, each.name) for each in fields(VmConfig)}


@dataclass(frozen=True, kw_only=True)
class VmSpec(VmConfig):
    """A VM to make with its slots, faults and workloads: all of it, or nothing."""

    name: Label = ""
    """A label."""
    backend: BackendName = BackendName.SIMULATED
    """What it runs on: `simulated`, or `host_kvm`, real KVM of the service's machine
    (docs/host-kvm.md)."""
    track_versions: Boolean = False
    """Whether page versions are tracked from the start, and so complete."""
    memslots: Annotated[tuple[SetMemslot, ...], Len(0, MAX_SLOT + 1)] = ()
    """Its memslots."""
    faults: Annotated[tuple[AnyFault, ...], Len(0, MAX_FAULTS_PER_VM)] = ()
    """Faults to arm."""
    workloads: Annotated[tuple[AnyWorkload, ...], Len(0, MAX_WORKLOADS_PER_VM)] = ()
    """What writes by itself."""


@dataclass(frozen=True, kw_only=True)
class CreateVm(VmSpec):
    """A VM to make in a session."""

    session_id: SessionId = DEFAULT_SESSION
    """The session."""


@dataclass(frozen=True, kw_only=True)
class VmInfo(VmConfig):
    """A VM."""

    __pydantic_config__ = Model.__pydantic_config__

    vm_id: str
    """`{session_id}-{n}`, never reused before a reset."""
    name: str
    """Its label."""
    session_id: str
    """Its session."""
    backend: BackendName
    """What it runs on."""
    capabilities: BackendCapabilities
    """What that can do."""
    track_versions: Boolean
    """Whether page versions are tracked."""
    memslots: tuple[MemslotInfo, ...]
    """Its memslots, by number."""
    faults: tuple[FaultInfo, ...]
    """Its armed faults, oldest first."""
    workloads: tuple[WorkloadInfo, ...]
    """Its workloads, oldest first."""
    counters: dict[str, Count]
    """What has been counted since it was made, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateVm(Action[None]):
    """Set a capability (KVM_ENABLE_CAP; docs/kernel.md A.4, A.6): one at a time."""

    ioctl = "KVM_ENABLE_CAP"
    refusals = (MemslotsPresentError, InvalidArgumentError)
    one_of = ("manual_dirty_log_protect2", "eager_split_chunk_size")

    manual_dirty_log_protect2: ManualProtect | None = None
    """KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: 0, 1 or 3."""
    eager_split_chunk_size: Size | None = None
    """KVM_CAP_ARM_EAGER_SPLIT_CHUNK_SIZE: 0 or a leaf size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetConfig(Query[VmConfig]):
    """Return the configuration, with the two capabilities as they are now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCounters(Query[dict[str, Count]]):
    """Return what has been counted since the VM was made, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint(Model):
    """What a machine holds."""

    pages: Count
    """Guest pages in all slots."""
    state_bytes: Count
    """Bytes of planes, bitmaps, workloads and versions for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFootprint(Query[Footprint]):
    """Return what the machine holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generations(Model):
    """How often settings have changed: equal, nothing has."""

    capabilities: Count
    """How often capabilities were set."""
    memslots: Count
    """How often memslots changed."""
    slot: Count | None = None
    """The memslots' generation in which the requested slot became what it is; null if absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetGenerations(Query[Generations]):
    """Return the generations of the settings, for entity tags."""

    slot: Count | None = None
    """A memslot whose generation to return."""
