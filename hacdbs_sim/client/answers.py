"""The service's answers, as frozen values. Addresses and registers are integers here.

Fields that a newer service adds are left out, so an older client goes on reading its answers.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _from_hex(value: object) -> object:
    return int(value, 16) if isinstance(value, str) else value


Hex = Annotated[int, BeforeValidator(_from_hex)]
"""An integer that the wire writes as "0x..."."""


class Answer(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Index(Answer):
    """Where to go from here."""

    name: str
    links: dict[str, str]


class Health(Answer):
    """Health of the service."""

    status: str


class Version(Answer):
    """Which build serves."""

    name: str
    version: str
    api: str
    python: str


class Limits(Answer):
    """How much the service takes on."""

    max_vms: int
    max_pages_per_vm: int
    max_state_bytes: int
    max_body_bytes: int
    max_faults_per_vm: int
    max_workloads_per_vm: int
    max_sessions: int
    max_batch_actions: int
    max_ranges: int
    max_idempotency_bytes: int
    max_idempotency_keys_per_session: int
    idempotency_seconds: int


class Capabilities(Answer):
    """What KVM_CHECK_EXTENSION would say, by capability; block sizes by granule; the limits."""

    extensions: dict[str, int]
    supported_block_sizes: dict[str, list[int]]
    limits: Limits


class ProblemMeaning(Answer):
    """What a problem's code means."""

    type: str
    code: str
    title: str
    status: int
    meaning: str


class SessionInfo(Answer):
    """A session."""

    session_id: str
    vm_count: int


class FaultWhen(Answer):
    """Which calls a fault is for, and where in them; None where all match."""

    op: str | None = None
    slot: int | None = None
    cpu: int | None = None
    batch: int | None = None
    index: int | None = None
    gfn: int | None = None


class LastHit(Answer):
    """Where a fault last struck."""

    opportunity: int
    op: str
    slot: int
    cpu: int | None
    batch: int | None
    index: int | None
    gfn: int | None


class FaultInfo(Answer):
    """An armed fault."""

    fault_id: str
    type: str
    enabled: bool
    probability: float
    after: int
    every: int
    times: int | None
    when: FaultWhen
    opportunities: int
    hits: int
    last_hit: LastHit | None


class FaultType(Answer):
    """A type of fault: what it does, in which calls, and which fields `when` may have."""

    type: str
    description: str
    ops: list[str]
    when: list[str]


class MemslotInfo(Answer):
    """A memslot; `dirty_count` is None where no log is kept. The ETag stands for its settings."""

    slot: int
    guest_phys_addr: Hex
    memory_size: int
    userspace_addr: Hex
    flags: list[str]
    backing: int
    base_gfn: int
    npages: int
    dirty_count: int | None
    etag: str | None = None


class MemslotChange(MemslotInfo):
    """A memslot, and what the call did to it: create, move, flags_only, none or delete."""

    change: str


class Features(Answer):
    """What the simulated hardware and kernel have."""

    dbm: bool
    hacdbs: bool


class Burst(Answer):
    """When a workload writes, and when it rests."""

    on_ns: int
    off_ns: int


class WorkloadInfo(Answer):
    """A workload; the fields of another kind than its own are None."""

    workload_id: str
    slot: int
    kind: str
    writes_per_second: int | None
    first_page: int
    num_pages: int
    seed: int
    burst: Burst | None
    writer: str
    vcpu: int
    writes: int
    skipped: int
    hot_fraction: float | None = None
    hot_share: float | None = None
    exponent: float | None = None
    set_pages: int | None = None
    move_every_writes: int | None = None
    step_pages: int | None = None
    trace: str | None = None
    interval_ns: int | None = None
    loop: bool | None = None
    copies: int | None = None
    scale: bool | None = None
    interval_count: int | None = None
    record_count: int | None = None


class Clock(Answer):
    """A VM's virtual clock, in nanoseconds; `debt_ns` is what the next run pays."""

    now_ns: int
    guest_ns: int
    stalled_ns: int
    throttled_ns: int
    debt_ns: int


class GuestRun(Answer):
    """What a run of the guest did: its time, its writes, and what they met."""

    clock: Clock
    guest_ns: int
    stalled_ns: int
    throttled_ns: int
    slices: int
    writes: int
    skipped: int
    pages: int
    newly_dirty: int
    translation_faults: int
    permission_faults: int
    mmio_exits: int
    block_splits: int
    blocks_mapped: int


class Knob(Answer):
    """A knob of the cost model: its default, and where that comes from."""

    name: str
    unit: str
    default: int
    assumption: bool
    source: str


class CostModel(Answer):
    """What counted events cost in virtual time."""

    knobs: tuple[Knob, ...]


class BackendCapabilities(Answer):
    """What the backend of a VM can do, and which fields of its answers are null."""

    ops: tuple[str, ...]
    unknown_fields: tuple[str, ...] = ()


class VmInfo(Answer):
    """A VM. `counters` are sums over its life, `costs` the cost model's picoseconds, by name. The ETag stands for its settings."""

    vm_id: str
    name: str
    session_id: str
    backend: str
    capabilities: BackendCapabilities
    page_size: int
    ipa_bits: int
    vcpus: int
    cpus: int
    features: Features
    manual_dirty_log_protect2: int
    eager_split_chunk_size: int
    kernel: str
    seed: int
    memslots: list[MemslotInfo]
    faults: list[FaultInfo]
    workloads: list[WorkloadInfo]
    costs: dict[str, int]
    counters: dict[str, int]
    etag: str | None = None


class Hacdbsbr(Answer):
    """HACDBSBR_EL2: where the unit's array is, and whether it runs."""

    raw: Hex
    baddr: Hex
    en: bool
    sz: int


class Hacdbscons(Answer):
    """HACDBSCONS_EL2: why the unit stopped, and at which entry."""

    raw: Hex
    err_reason: str
    index: int


class CpuInfo(Answer):
    """A host CPU and its unit."""

    cpu: int
    online: bool
    status: str
    hacdbsbr_el2: Hacdbsbr
    hacdbscons_el2: Hacdbscons
    interrupts: int
    runs: int
    entries: int
    cleaned: int


class Stage2Run(Answer):
    """Neighbouring pages equal in level and state; the descriptor is that of the first."""

    gfn: int
    count: int
    level: int | None
    state: str
    descriptor: Hex


class Access(Answer):
    """What a batch of accesses did; None is what the VM's backend cannot know."""

    pages: int
    newly_dirty: int | None
    translation_faults: int | None
    permission_faults: int | None
    mmio_exits: int
    block_splits: int | None
    blocks_mapped: int | None


class BatchResult(Answer):
    """What an action's own call would have answered: its status, and its body or problem."""

    status: int
    body: dict[str, Any] | None

    @property
    def is_refusal(self) -> bool:
        """Whether the action was refused."""
        return self.status >= 400


class BatchResults(Answer):
    """Results, up to and including the first refusal."""

    results: list[BatchResult] = Field(default=[])


class Heat(Answer):
    """Pages of a slot by bin: how many are dirty (None without a log), and in which state of stage 2.

    A bin has `pages_per_bin` pages, the last one perhaps fewer; the five states of a bin add up to them.
    """

    slot: int
    npages: int
    bins: int
    pages_per_bin: int
    dirty: list[int] | None
    unmapped: list[int]
    read_only: list[int]
    read_write: list[int]
    writable_clean: list[int]
    writable_dirty: list[int]


class Event(Answer):
    """Something that happened; `vm_id` is None where it was a whole session."""

    event_id: int
    type: str
    session_id: str
    vm_id: str | None
    now_ns: int
    details: dict[str, str | int | bool | None]


class Events(Answer):
    """Events behind a position, oldest first.

    `next_after` is the position to go on from; `stale` is true if events behind the position asked for
    are gone, or if the position is not one of this service.
    """

    events: list[Event]
    next_after: int
    oldest_event_id: int
    last_event_id: int
    stale: bool
