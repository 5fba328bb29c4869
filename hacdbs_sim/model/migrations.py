"""Migrations: how one is run, and what it reports while it runs and afterwards.

Times are nanoseconds of the machine's virtual clock. Defaults are QEMU's where QEMU has the knob:
max-bandwidth (here the link's own 10 Gbit/s), downtime-limit 300 ms, cpu-throttle-initial 20,
cpu-throttle-increment 10, max-cpu-throttle 99, throttle-trigger-threshold 50, and a clear chunk of
1 GiB (x-clear-bitmap-shift 18).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from annotated_types import Len

from hacdbs_sim.model.base import Action, Model, Request
from hacdbs_sim.model.kinds import MAX_NS, MAX_SLOT, Boolean, Count, Nanoseconds, SlotId, whole

NS_PER_SECOND: Final = 10**9

MIN_BANDWIDTH: Final = 1_000_000
MAX_BANDWIDTH: Final = 10**13
MAX_ITERATIONS: Final = 1_000
MAX_SCHEDULED: Final = 1_000
MAX_CLEAR_CHUNK_PAGES: Final = 1 << 31
MAX_PACE_MS: Final = 10_000

Bandwidth = Annotated[int, whole(MIN_BANDWIDTH, MAX_BANDWIDTH)]
Percent = Annotated[int, whole(1, 99)]
Threshold = Annotated[int, whole(1, 100)]
Iterations = Annotated[int, whole(1, MAX_ITERATIONS)]
AnIteration = Annotated[int, whole(0, MAX_ITERATIONS)]
DowntimeLimit = Annotated[int, whole(0, MAX_NS)]
ClearChunk = Annotated[int, whole(64, MAX_CLEAR_CHUNK_PAGES, multiple_of=64)]
PaceMs = Annotated[int, whole(0, MAX_PACE_MS)]
VmId = Annotated[str, Len(0, 96)]
PresetName: TypeAlias = Literal["converges", "never_converges"]


class TimeoutStrategy(StrEnum):
    """What happens when the time or the iterations are used up."""

    CANCEL = "cancel"
    SWITCH_OVER = "switch_over"


class ClearOrder(StrEnum):
    """When a chunk's bits are cleared: before its pages are read, or (a defect) after."""

    BEFORE_COPY = "before_copy"
    AFTER_COPY = "after_copy"


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoConverge(Request):
    """Throttling of the vCPUs, in percent of their time, as QEMU's auto-converge.

    Attributes:
        initial: The first throttling.
        increment: What each further one adds.
        max: The most there is.
        trigger_threshold: An iteration counts as too dirty where more bytes were dirtied than this
            percentage of the bytes that were sent meanwhile; every second such throttles.
    """

    initial: Percent = 20
    increment: Percent = 10
    max: Percent = 99
    trigger_threshold: Threshold = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled(Request):
    """An action, as a batch takes it, performed before the get of an iteration.

    Attributes:
        iteration: Which, from 0; one that is never reached performs nothing.
        action: What is performed.
    """

    iteration: AnIteration
    action: Action[Any]


@dataclass(frozen=True, kw_only=True)
class MigrationSpec(Request):
    """How a migration is run.

    Attributes:
        bandwidth_bytes_per_second: Of the link, all of it used.
        downtime_limit_ns: Switch over once the rest can be sent in this time.
        max_iterations: The most passes while the guest runs.
        timeout_ns: The most virtual time before the switch-over; null: any.
        timeout_strategy: What happens once the time or the iterations are used up.
        auto_converge: Throttling; null: none.
        slots: Which to migrate; null: all, or all that log where logging is not enabled.
        enable_logging: Slots that do not log begin to at setup, and end afterwards.
        clear_chunk_pages: Pages of one clear, and of what is copied with it.
        clear_order: after_copy loses what the guest writes between the copy and the clear.
        verify: Follow page versions, and list the pages that the destination lacks.
        full_first_pass: The first pass sends all pages, not only the dirty ones.
        schedule: What else happens, and when.
    """

    bandwidth_bytes_per_second: Bandwidth = 1_250_000_000
    downtime_limit_ns: DowntimeLimit = 300_000_000
    max_iterations: Iterations = 30
    timeout_ns: Nanoseconds | None = None
    timeout_strategy: TimeoutStrategy = TimeoutStrategy.CANCEL
    auto_converge: AutoConverge | None = None
    slots: Annotated[tuple[SlotId, ...], Len(1, MAX_SLOT + 1)] | None = None
    enable_logging: Boolean = True
    clear_chunk_pages: ClearChunk = 262_144
    clear_order: ClearOrder = ClearOrder.BEFORE_COPY
    verify: Boolean = True
    full_first_pass: Boolean = True
    schedule: Annotated[tuple[Scheduled, ...], Len(0, MAX_SCHEDULED)] = ()


@dataclass(frozen=True, kw_only=True)
class PresetMigration(MigrationSpec):
    """How a migration is run; what a preset sets too is what is given here.

    Attributes:
        preset: A migration that ends in a known way (`GET /v1/migration-presets`).
    """

    preset: PresetName | None = None


@dataclass(frozen=True, kw_only=True)
class StartMigration(PresetMigration):
    """A migration to begin.

    Attributes:
        vm_id: The source.
        pace_ms: Real milliseconds to wait after each iteration and phase, to watch it.
    """

    vm_id: VmId
    pace_ms: PaceMs = 0


class MigrationStatus(StrEnum):
    """QMP's MigrationStatus, as far as a pre-copy has them."""

    NONE = "none"
    SETUP = "setup"
    ACTIVE = "active"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE = "device"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self in _FINAL


_FINAL: Final = frozenset(
    {MigrationStatus.COMPLETED, MigrationStatus.FAILED, MigrationStatus.CANCELLED}
)


class Reason(StrEnum):
    """Why a migration switched over, or ended without."""

    CONVERGED = "converged"
    MAX_ITERATIONS = "max_iterations"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    CANCEL = "cancel"
    VM_DELETED = "vm_deleted"
    SESSION_RESET = "session_reset"
    SERVICE_STOPPED = "service_stopped"


@dataclass(kw_only=True)
class Sums(Model):
    """What a pass did, and all passes together.

    Attributes:
        dirty_pages: Pages that gets found, beyond those that were still to be sent.
        sent_pages: Pages sent.
        sent_bytes: Their bytes.
        get_ns: What gets cost.
        clear_ns: What clears cost.
        clears: How many there were.
        guest_ns: How long the guest really ran.
        guest_stall_ns: How long the guest's faults kept it.
        throttled_ns: How long throttling kept it.
        guest_writes: Writes of the workloads.
        permission_faults: Write faults on pages that had been cleaned.
        translation_faults: Faults on pages that were not mapped.
        hardware_cleaned: Pages that the unit cleaned.
        software_cleaned: Pages that software cleaned.
        requeued: Pages that the unit gave back.
        declined: Calls of the hook that it declined.
        partial: Calls of the hook that stopped early.
        blocks_split: Blocks that gets and clears split.
    """

    dirty_pages: Count = 0
    sent_pages: Count = 0
    sent_bytes: Count = 0
    get_ns: Count = 0
    clear_ns: Count = 0
    clears: Count = 0
    guest_ns: Count = 0
    guest_stall_ns: Count = 0
    throttled_ns: Count = 0
    guest_writes: Count = 0
    permission_faults: Count = 0
    translation_faults: Count = 0
    hardware_cleaned: Count = 0
    software_cleaned: Count = 0
    requeued: Count = 0
    declined: Count = 0
    partial: Count = 0
    blocks_split: Count = 0


SUMMED: Final = tuple(each.name for each in fields(Sums))
"""What is added up over passes."""


@dataclass(kw_only=True)
class Iteration(Sums):
    """One pass: a get of each slot, then its pages.

    Attributes:
        iteration: Its number, from 0.
        phase: `active` while the guest runs, `device` while it is paused.
        started_ns: The clock when it began, before its get.
        duration_ns: Until its last page was sent.
        dirty_pages_per_second: dirty_pages by the time since the get before.
        remaining_pages: Pages that have to be sent when it ends: dirty again, or not reached.
        throttle_percent: How much of their time the vCPUs were kept from running.
    """

    written_first: ClassVar[tuple[str, ...]] = (
        "iteration",
        "phase",
        "started_ns",
        "duration_ns",
        "dirty_pages",
        "dirty_pages_per_second",
        "sent_pages",
        "sent_bytes",
        "remaining_pages",
        "throttle_percent",
    )

    iteration: Count = 0
    phase: Literal["active", "device"] = "active"
    started_ns: Count = 0
    duration_ns: Count = 0
    dirty_pages_per_second: Count = 0
    remaining_pages: Count = 0
    throttle_percent: Count = 0


ITERATION_FIELDS: Final = (
    *Iteration.written_first,
    *(name for name in SUMMED if name not in Iteration.written_first),
)
"""The columns of a table of iterations: what a pass is, what it sent, then what that took."""


@dataclass(kw_only=True)
class Totals(Sums):
    """Sums over all passes that have ended, and the times of the whole.

    Attributes:
        iterations: How many passes have ended.
        total_ns: Since it began.
        setup_ns: How long the setup took.
        downtime_ns: How long the guest was paused.
    """

    iterations: Count
    total_ns: Count
    setup_ns: Count
    downtime_ns: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Model):
    """What the machine refused.

    Attributes:
        code: The problem's code.
        errno: The kernel's errno, where it has one.
        detail: One sentence.
    """

    code: str
    errno: str | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledOutcome(Model):
    """An action of the schedule that was performed.

    Attributes:
        iteration: When.
        op: What.
        now_ns: The clock before it.
        problem: Why it was refused; null: it was done.
    """

    iteration: Count
    op: str
    now_ns: Count
    problem: Refused | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LostPages(Model):
    """Pages of a slot that the destination has not as they are, and that will not be sent.

    Attributes:
        slot: The memslot.
        lost_pages: How many, exactly.
        lost_ranges: The first of them, as pairs of a page of the slot and a count.
        ranges_omitted: How many ranges more.
    """

    slot: SlotId
    lost_pages: Count
    lost_ranges: tuple[tuple[Count, Count], ...]
    ranges_omitted: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification(Model):
    """What the page versions prove, at the end.

    Attributes:
        enabled: Whether they were followed.
        verified: Whether all slots could be compared.
        lost_pages: Pages that the destination has not as they are, and that will not be sent.
        slots: The same by slot, with the first ranges; of many slots, only of those that lost some.
    """

    enabled: Boolean
    verified: Boolean
    lost_pages: Count
    slots: tuple[LostPages, ...]


def kebab(name: str) -> str:
    """Return QMP's spelling of a name."""
    return name.replace("_", "-")


class QmpModel(Model):
    """A class whose fields are spelled as in QMP, with hyphens."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        **Model.__pydantic_config__,
        "alias_generator": kebab,
        "serialize_by_alias": True,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class QmpRam(QmpModel):
    """QMP's MigrationStats: bytes, pages, and rates a second.

    Attributes:
        duplicate: Zero pages; they are not detected, so 0.
        normal: Pages sent.
    """

    transferred: Count
    remaining: Count
    total: Count
    duplicate: Count = 0
    normal: Count
    normal_bytes: Count
    dirty_pages_rate: Count
    mbps: float
    dirty_sync_count: Count
    dirty_sync_missed_zero_copy: Count = 0
    page_size: Count
    pages_per_second: Count
    multifd_bytes: Count = 0
    precopy_bytes: Count
    downtime_bytes: Count
    postcopy_bytes: Count = 0
    postcopy_requests: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMigrate(QmpModel):
    """QMP's MigrationInfo, as query-migrate returns it; times in milliseconds."""

    status: MigrationStatus
    total_time: Count
    setup_time: Count
    downtime: Count
    expected_downtime: Count
    cpu_throttle_percentage: Count
    error_desc: str | None
    ram: QmpRam


@dataclass(frozen=True, kw_only=True)
class MigrationReport(Model):
    """A migration at one moment.

    Attributes:
        status: As QMP names it.
        reason: Why it switched over or ended; null before.
        problem: What the machine refused, where it failed.
        spec: How it is run: every field, with what was left out filled in.
        started_ns: The clock when it began.
        now_ns: The clock when it was last seen.
        qmp: What QMP's query-migrate returns.
        iterations: The passes that have ended.
        scheduled: Actions of the schedule that were performed.
        verification: What the page versions prove; nothing before the end.
        totals: Sums over all passes that have ended.
    """

    status: MigrationStatus
    reason: Reason | None
    problem: Refused | None
    spec: MigrationSpec
    started_ns: Count
    now_ns: Count
    qmp: QueryMigrate
    iterations: tuple[Iteration, ...]
    scheduled: tuple[ScheduledOutcome, ...]
    verification: Verification
    totals: Totals

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status.is_final


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationBrief(Model):
    """A migration in a list.

    Attributes:
        migration_id: `{session_id}-m{n}`.
        session_id: Its session.
        vm_id: The source.
        status: As QMP names it.
        reason: Why it switched over or ended; null before.
        iteration_count: Passes that have ended.
        lost_pages: Pages that the proof found lost.
    """

    migration_id: str
    session_id: str
    vm_id: str
    status: MigrationStatus
    reason: Reason | None
    iteration_count: Count
    lost_pages: Count


@dataclass(frozen=True, kw_only=True)
class MigrationInfo(MigrationReport):
    """A migration of a VM, and its report.

    Attributes:
        migration_id: `{session_id}-m{n}`.
        session_id: Its session.
        vm_id: The source.
    """

    migration_id: str
    session_id: str
    vm_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationTable(Model):
    """The passes of a migration that have ended.

    Attributes:
        migration_id: Which migration.
        status: As QMP names it.
        iterations: The passes.
    """

    migration_id: str
    status: MigrationStatus
    iterations: tuple[Iteration, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset(Model):
    """A migration that ends in a known way on the VM that goes with it.

    Attributes:
        preset: Its name.
        description: What happens, with figures.
        migration: Fields of a migration that differ from the defaults.
        vm: A VM to make, with its workload.
    """

    preset: PresetName
    description: str
    migration: Mapping[str, Any]
    vm: Mapping[str, Any]
