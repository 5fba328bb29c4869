"""Comparisons: the same VM and migration in several variants, side by side."""

from dataclasses import asdict
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import FailFast, Field
from typing_extensions import TypedDict

from hacdbs_sim.sim.actions import KernelProfile
from hacdbs_sim.vmm import row_of
from hacdbs_sim.vmm.presets import PRESETS
from hacdbs_sim.vmm.report import Reason

from ...service.migrations import MAX_VARIANTS, Comparison
from .base import Request, answer, example, omittable
from .faults import FaultIn
from .fields import ManualProtect, SizeBytes
from .migrations import MigrationFields, PaceMs
from .reports import ReasonName, ReportOut, StatusName, report_out
from .vms import FeaturesIn, VmIn

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,31}$"

_FAULTY: Final = {"type": "ipaf", "every": 2}


class VariantIn(Request):
    """A variant: what is given replaces what the VM has."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    features: FeaturesIn = omittable()
    kernel: KernelProfile = omittable()
    manual_dirty_log_protect2: ManualProtect = omittable()
    eager_split_chunk_size: SizeBytes = omittable()
    faults: Annotated[list[FaultIn], FailFast(), Field(max_length=100)] = omittable()

    def of(self, vm: VmIn) -> VmIn:
        """Give the variant of a VM."""
        given = {name: getattr(self, name) for name in self.model_fields_set - {"name"}}
        return vm.model_copy(update=given)


def default_variants() -> list[VariantIn]:
    """Give what is compared where nothing else is asked for."""
    return [
        VariantIn.model_validate(fields, strict=False)
        for fields in (
            {"name": "hacdbs", "features": {"dbm": True, "hacdbs": True}},
            {"name": "software", "features": {"dbm": True, "hacdbs": False}},
            {"name": "faults", "features": {"dbm": True, "hacdbs": True}, "faults": [_FAULTY]},
        )
    ]


class ComparisonIn(Request):
    """A VM, a migration, and the variants to run: by default hacdbs, software and faults."""

    model_config = example(vm=dict(PRESETS["converges"].vm), migration={"preset": "converges"})

    max_bytes: ClassVar = VmIn.max_bytes
    max_colons: ClassVar = VmIn.max_colons + MigrationFields.max_colons

    vm: VmIn
    migration: MigrationFields = MigrationFields()
    variants: Annotated[
        list[VariantIn], FailFast(), Field(min_length=1, max_length=MAX_VARIANTS)
    ] = omittable()
    pace_ms: PaceMs = 0

    def chosen(self) -> list[VariantIn]:
        """Give the variants that are given, or else the usual ones."""
        return self.variants or default_variants()


@answer
class ComparisonRowOut(TypedDict):
    """The figures of one variant."""

    name: str
    status: StatusName
    reason: ReasonName | None
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


@answer
class VariantReportOut(ReportOut):
    """The report of one variant."""

    name: str


ComparisonStatus = Literal["running", "completed", "cancelled"]


@answer
class ComparisonBriefOut(TypedDict):
    """A comparison in a list; `completed` once every variant has come to an end of its own."""

    comparison_id: str
    session_id: str
    status: ComparisonStatus
    rows: list[ComparisonRowOut]


@answer
class ComparisonOut(ComparisonBriefOut):
    """A comparison, with the reports of its variants."""

    reports: list[VariantReportOut]


@answer
class ComparisonListOut(TypedDict):
    """Comparisons, by session and number."""

    comparisons: list[ComparisonBriefOut]
    next_page_token: str


_BY_OTHERS: Final = frozenset({Reason.CANCEL, Reason.SESSION_RESET, Reason.SERVICE_STOPPED})


def _status(comparison: Comparison) -> ComparisonStatus:
    if not comparison.run.is_over:
        return "running"
    if any(task.report.reason in _BY_OTHERS for task in comparison.run.tasks):
        return "cancelled"
    return "completed"


def comparison_brief_out(comparison: Comparison) -> ComparisonBriefOut:
    """Project a comparison, in short."""
    rows: list[Any] = []
    for task in comparison.run.tasks:
        row = row_of(task.name, task.seen())
        reason = None if row.reason is None else row.reason.value
        rows.append({**asdict(row), "status": row.status.value, "reason": reason})
    return {
        "comparison_id": comparison.comparison_id,
        "session_id": comparison.session_id,
        "status": _status(comparison),
        "rows": rows,
    }


def comparison_out(comparison: Comparison) -> ComparisonOut:
    """Project a comparison."""
    return {
        **comparison_brief_out(comparison),
        "reports": [
            {"name": task.name, **report_out(task.spec, task.seen())}
            for task in comparison.run.tasks
        ],
    }
