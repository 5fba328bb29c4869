"""What migrations and comparisons answer, as frozen values. Times in virtual nanoseconds."""

from typing import Any

from pydantic import Field

from hacdbs_sim.client.answers import Answer


class QmpRam(Answer):
    """QMP's MigrationStats."""

    transferred: int
    remaining: int
    total: int
    duplicate: int
    normal: int
    normal_bytes: int = Field(alias="normal-bytes")
    dirty_pages_rate: int = Field(alias="dirty-pages-rate")
    mbps: float
    dirty_sync_count: int = Field(alias="dirty-sync-count")
    dirty_sync_missed_zero_copy: int = Field(alias="dirty-sync-missed-zero-copy")
    page_size: int = Field(alias="page-size")
    pages_per_second: int = Field(alias="pages-per-second")
    multifd_bytes: int = Field(alias="multifd-bytes")
    precopy_bytes: int = Field(alias="precopy-bytes")
    downtime_bytes: int = Field(alias="downtime-bytes")
    postcopy_bytes: int = Field(alias="postcopy-bytes")
    postcopy_requests: int = Field(alias="postcopy-requests")


class QueryMigrate(Answer):
    """QMP's MigrationInfo; times in milliseconds."""

    status: str
    total_time: int = Field(alias="total-time")
    setup_time: int = Field(alias="setup-time")
    downtime: int
    expected_downtime: int = Field(alias="expected-downtime")
    cpu_throttle_percentage: int = Field(alias="cpu-throttle-percentage")
    error_desc: str | None = Field(alias="error-desc")
    ram: QmpRam


class _Sums(Answer):
    """What a pass counts, and all passes add up."""

    dirty_pages: int
    sent_pages: int
    sent_bytes: int
    get_ns: int
    clear_ns: int
    clears: int
    guest_ns: int
    guest_stall_ns: int
    throttled_ns: int
    guest_writes: int
    permission_faults: int
    translation_faults: int
    hardware_cleaned: int
    software_cleaned: int
    requeued: int
    declined: int
    partial: int
    blocks_split: int


class Iteration(_Sums):
    """One pass: a get of each slot, then its pages."""

    iteration: int
    phase: str
    started_ns: int
    duration_ns: int
    dirty_pages_per_second: int
    remaining_pages: int
    throttle_percent: int


class Totals(_Sums):
    """Sums over all passes that have ended, and the times of the whole."""

    iterations: int
    total_ns: int
    setup_ns: int
    downtime_ns: int


class Refused(Answer):
    """What the machine refused: the code of the problem, and the kernel's errno where it has one."""

    code: str
    errno: str | None
    detail: str


class Scheduled(Answer):
    """An action of the schedule that was performed; `problem` where it was refused."""

    iteration: int
    op: str
    now_ns: int
    problem: Refused | None


class LostPages(Answer):
    """Pages of a slot that the destination has not as they are, and that will not be sent."""

    slot: int
    lost_pages: int
    lost_ranges: list[tuple[int, int]]
    ranges_omitted: int


class Verification(Answer):
    """What the page versions prove, at the end."""

    enabled: bool
    verified: bool
    lost_pages: int
    slots: list[LostPages]


class AutoConverge(Answer):
    """Throttling of the vCPUs, in percent of their time."""

    initial: int
    increment: int
    max: int
    trigger_threshold: int


class ScheduledSpec(Answer):
    """An action of the schedule, as it was asked for."""

    iteration: int
    action: dict[str, Any]


class MigrationSpec(Answer):
    """How a migration is run: every field, with what was left out filled in."""

    bandwidth_bytes_per_second: int
    downtime_limit_ns: int
    max_iterations: int
    timeout_ns: int | None
    timeout_strategy: str
    auto_converge: AutoConverge | None
    slots: list[int]
    enable_logging: bool
    clear_chunk_pages: int
    clear_order: str
    verify: bool
    full_first_pass: bool
    schedule: list[ScheduledSpec]


class Report(Answer):
    """A migration at one moment."""

    status: str
    reason: str | None
    problem: Refused | None
    spec: MigrationSpec
    started_ns: int
    now_ns: int
    qmp: QueryMigrate
    iterations: list[Iteration]
    scheduled: list[Scheduled]
    verification: Verification
    totals: Totals

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status in {"completed", "failed", "cancelled"}


class MigrationInfo(Report):
    """A migration of a VM, and its report."""

    migration_id: str
    session_id: str
    vm_id: str


class MigrationBrief(Answer):
    """A migration in a list."""

    migration_id: str
    session_id: str
    vm_id: str
    status: str
    reason: str | None
    iteration_count: int
    lost_pages: int


class Iterations(Answer):
    """The passes of a migration that have ended."""

    migration_id: str
    status: str
    iterations: list[Iteration]


class Preset(Answer):
    """A migration that ends in a known way on the VM that goes with it."""

    preset: str
    description: str
    migration: dict[str, Any]
    vm: dict[str, Any]


class ComparisonRow(Answer):
    """The figures of one variant."""

    name: str
    status: str
    reason: str | None
    iterations: int
    total_ns: int
    downtime_ns: int
    sent_bytes: int
    get_ns: int
    clear_ns: int
    guest_stall_ns: int
    hardware_cleaned: int
    software_cleaned: int
    requeued: int
    lost_pages: int


class VariantReport(Report):
    """The report of one variant."""

    name: str


class ComparisonBrief(Answer):
    """A comparison in a list."""

    comparison_id: str
    session_id: str
    status: str
    rows: list[ComparisonRow]

    @property
    def is_over(self) -> bool:
        """Whether all its variants have ended."""
        return self.status != "running"


class ComparisonInfo(ComparisonBrief):
    """A comparison, with the reports of its variants."""

    reports: list[VariantReport]
