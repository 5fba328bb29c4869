"""Comparisons: the same VM and migration in several variants, side by side."""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Annotated, Any, Final

from annotated_types import Len

from hacdbs_sim.model.base import Model, Request
from hacdbs_sim.model.faults import AddIpaf, AnyFault
from hacdbs_sim.model.kinds import Count, ManualProtect, Pattern, Size
from hacdbs_sim.model.migration_reports import MigrationReport, Reason
from hacdbs_sim.model.migrations import MigrationSpec, PaceMs, PresetMigration
from hacdbs_sim.model.query_migrate import MigrationStatus
from hacdbs_sim.model.vms import CreateVm, Features, KernelProfile, VmSpec

MAX_VARIANTS: Final = 8
VARIANT_NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,31}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant(Request):
    """A variant: what is given replaces what the VM has."""

    name: Annotated[str, Pattern(VARIANT_NAME_PATTERN)]
    """What it is called."""
    features: Features | None = None
    """In place of the VM's."""
    kernel: KernelProfile | None = None
    """In place of the VM's."""
    manual_dirty_log_protect2: ManualProtect | None = None
    """In place of the VM's."""
    eager_split_chunk_size: Size | None = None
    """In place of the VM's."""
    faults: Annotated[tuple[AnyFault, ...], Len(0, 100)] | None = None
    """In place of the VM's."""

    @property
    def given(self) -> dict[str, Any]:
        """What it replaces, by field."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {
            name: value for name, value in values.items() if value is not None and name != "name"
        }


DEFAULT_VARIANTS: Final = (
    Variant(name="hacdbs", features=Features(dbm=True, hacdbs=True)),
    Variant(name="software", features=Features(dbm=True, hacdbs=False)),
    Variant(name="faults", features=Features(dbm=True, hacdbs=True), faults=(AddIpaf(every=2),)),
)
"""What is compared by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartComparison(Request):
    """A VM, a migration, and the variants to run: by default hacdbs, software and faults."""

    vm: CreateVm
    """The VM."""
    migration: PresetMigration = field(default_factory=PresetMigration)
    """How it is migrated."""
    variants: Annotated[tuple[Variant, ...], Len(1, MAX_VARIANTS)] | None = None
    """What is compared."""
    pace_ms: PaceMs = 0
    """Real milliseconds to wait after each iteration and phase, to watch it."""


class ComparisonStatus(StrEnum):
    """The state of a comparison; `completed` once every variant has ended by itself."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow(Model):
    """The figures of one variant; names as in a report's totals."""

    name: str
    """The variant's."""
    status: MigrationStatus
    """Of its migration."""
    reason: Reason | None
    """Why that switched over or ended."""
    iterations: Count
    total_ns: Count
    downtime_ns: Count
    sent_bytes: Count
    get_ns: Count
    clear_ns: Count
    guest_stall_ns: Count
    hardware_cleaned: Count
    software_cleaned: Count
    requeued: Count
    lost_pages: Count
    """Pages that its proof found lost."""


@dataclass(frozen=True, kw_only=True)
class VariantReport(MigrationReport):
    """The report of one variant."""

    name: str
    """The variant's."""


@dataclass(frozen=True, kw_only=True)
class ComparisonBrief(Model):
    """A comparison in a list."""

    comparison_id: str
    """`{session_id}-c{n}`."""
    session_id: str
    """Its session."""
    status: ComparisonStatus
    """Its state."""
    rows: tuple[ComparisonRow, ...]
    """The figures of each variant."""

    @property
    def is_over(self) -> bool:
        """Whether all its variants have ended."""
        return self.status is not ComparisonStatus.RUNNING


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared(Model):
    """What is compared: the body of POST /v1/comparisons that repeats it."""

    vm: VmSpec
    """The VM."""
    migration: MigrationSpec
    """How each variant is migrated."""
    variants: tuple[Variant, ...]
    """In what they differ from the VM; what is null is the VM's."""
    omitted_parts: Count
    """Parts of the VM that `vm` lacks, as in the origin of a migration."""


@dataclass(frozen=True, kw_only=True)
class ComparisonInfo(ComparisonBrief):
    """A comparison, with the reports of its variants."""

    compared: Compared
    """What is compared."""

    reports: tuple[VariantReport, ...]
    """One for each variant."""
