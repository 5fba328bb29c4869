"""Virtual machines: how they are made, changed and shown."""

from typing import Annotated, ClassVar, Literal

from pydantic import FailFast, Field
from typing_extensions import TypedDict

from hacdbs_sim.sim.actions import (
    AddWorkload,
    ArmFault,
    KernelProfile,
    MachineConfig,
    SetEagerSplitChunkSize,
    SetManualProtect,
)
from hacdbs_sim.model.units import KIB, MAX_CPUS, MAX_IPA_BITS, MAX_VCPUS, MIN_IPA_BITS

from ...service.fleet import DEFAULT_SESSION, Vm, VmSpec
from ...service.limits import MAX_FAULTS_PER_VM, MAX_WORKLOADS_PER_VM
from .base import OneOf, Request, answer, example, omittable
from .faults import FaultIn, FaultOut, fault_out
from .fields import MAX_SLOT, Count, ManualProtect, PageSize, SizeBytes, Whole
from .guest import CostsIn, costs_out
from .memslots import MEMSLOT_EXAMPLE, MemslotOut, NumberedMemslotIn, memslot_out
from .sessions import SessionId
from .workloads import WorkloadIn, WorkloadOut, workload_out


class FeaturesIn(Request):
    """What the simulated hardware and kernel have."""

    dbm: bool = Field(default=True, description="Writable leaves get DBM (KVM_PGTABLE_S2_DBM).")
    hacdbs: bool = Field(default=True, description="The kernel is built with the hook.")


class VmFields(Request):
    """What a VM is made of, wherever it belongs."""

    name: Annotated[str, Field(max_length=128)] = ""
    page_size: PageSize = 4 * KIB
    ipa_bits: Annotated[int, Whole(MIN_IPA_BITS, MAX_IPA_BITS)] = 40
    vcpus: Annotated[int, Whole(1, MAX_VCPUS)] = 1
    cpus: Annotated[int, Whole(1, MAX_CPUS)] = 4
    features: FeaturesIn = FeaturesIn()
    manual_dirty_log_protect2: ManualProtect = 0
    eager_split_chunk_size: SizeBytes = 0
    kernel: KernelProfile = KernelProfile.FIXED
    seed: Count = 0
    memslots: Annotated[list[NumberedMemslotIn], FailFast(), Field(max_length=MAX_SLOT + 1)] = (
        Field(default=[])
    )
    faults: Annotated[list[FaultIn], FailFast(), Field(max_length=MAX_FAULTS_PER_VM)] = Field(
        default=[]
    )
    workloads: Annotated[list[WorkloadIn], FailFast(), Field(max_length=MAX_WORKLOADS_PER_VM)] = (
        Field(default=[])
    )
    costs: CostsIn = CostsIn()

    def to_spec(self, session_id: str) -> VmSpec:
        """Give what the fleet makes in a session."""
        config = MachineConfig(
            page_size=self.page_size,
            ipa_bits=self.ipa_bits,
            vcpus=self.vcpus,
            cpus=self.cpus,
            dbm=self.features.dbm,
            hacdbs=self.features.hacdbs,
            manual_dirty_log_protect2=self.manual_dirty_log_protect2,
            eager_split_chunk_size=self.eager_split_chunk_size,
            kernel=self.kernel,
            seed=self.seed,
            costs=self.costs.to_domain(),
        )
        return VmSpec(
            session_id=session_id,
            name=self.name,
            config=config,
            memslots=tuple(memslot.to_domain(memslot.slot) for memslot in self.memslots),
            faults=tuple(ArmFault(fault.to_domain()) for fault in self.faults),
            workloads=tuple(AddWorkload(workload.to_domain()) for workload in self.workloads),
        )


class VmIn(VmFields):
    """A VM to make, with its slots, faults and workloads: all of it, or nothing."""

    model_config = example(
        name="src",
        vcpus=4,
        manual_dirty_log_protect2=3,
        eager_split_chunk_size="2MiB",
        memslots=[{"slot": 0, **MEMSLOT_EXAMPLE}],
        faults=[{"type": "ipaf", "after": 1, "times": 1, "when": {"op": "clear", "batch": 2}}],
    )

    # Some 200 bytes and 7 fields for each of the most slots there may be.
    max_bytes: ClassVar = 8 << 20
    max_colons: ClassVar = 8 * (MAX_SLOT + 1) + 16 * MAX_FAULTS_PER_VM + 32 * MAX_WORKLOADS_PER_VM

    session_id: SessionId = DEFAULT_SESSION

    def to_domain(self) -> VmSpec:
        """Give what the fleet makes."""
        return self.to_spec(self.session_id)


class VmPatch(OneOf):
    """A capability to set (KVM_ENABLE_CAP): one at a time."""

    one_of: ClassVar = ("manual_dirty_log_protect2", "eager_split_chunk_size")
    shown: ClassVar = {"manual_dirty_log_protect2": 3}

    manual_dirty_log_protect2: ManualProtect = omittable()
    eager_split_chunk_size: SizeBytes = omittable()

    def to_domain(self) -> SetManualProtect | SetEagerSplitChunkSize:
        """Give the core's action."""
        if self.manual_dirty_log_protect2 is not None:
            return SetManualProtect(self.manual_dirty_log_protect2)
        return SetEagerSplitChunkSize(self.eager_split_chunk_size)


@answer
class FeaturesOut(TypedDict):
    """What the simulated hardware and kernel have."""

    dbm: bool
    hacdbs: bool


@answer
class VmOut(TypedDict):
    """A VM. `counters` are sums over its life, `costs` the cost model's picoseconds, by name."""

    vm_id: str
    name: str
    session_id: str
    page_size: int
    ipa_bits: int
    vcpus: int
    cpus: int
    features: FeaturesOut
    manual_dirty_log_protect2: Literal[0, 1, 3]
    eager_split_chunk_size: int
    kernel: Literal["fixed", "v1"]
    seed: int
    memslots: list[MemslotOut]
    faults: list[FaultOut]
    workloads: list[WorkloadOut]
    costs: dict[str, int]
    counters: dict[str, int]


@answer
class VmListOut(TypedDict):
    """VMs, by session and number."""

    vms: list[VmOut]
    next_page_token: str


def vm_out(vm: Vm) -> VmOut:
    """Project a VM."""
    machine = vm.runtime.machine
    config = machine.config
    return {
        "vm_id": vm.vm_id,
        "name": vm.name,
        "session_id": vm.session_id,
        "page_size": config.page_size,
        "ipa_bits": config.ipa_bits,
        "vcpus": config.vcpus,
        "cpus": config.cpus,
        "features": {"dbm": config.dbm, "hacdbs": config.hacdbs},
        "manual_dirty_log_protect2": config.manual_dirty_log_protect2,  # type: ignore[typeddict-item]
        "eager_split_chunk_size": config.eager_split_chunk_size,
        "kernel": config.kernel.value,
        "seed": config.seed,
        "memslots": [memslot_out(view) for view in machine.memslots()],
        "faults": [fault_out(view) for view in machine.faults()],
        "workloads": [workload_out(view) for view in machine.workloads()],
        "costs": costs_out(config.costs),
        "counters": machine.counters(),
    }
