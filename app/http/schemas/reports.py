"""What a migration reports: the same names while it runs and afterwards, always all of them."""

from dataclasses import asdict
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, cast

from pydantic import Field
from typing_extensions import TypedDict

from hacdbs_sim.vmm import MigrationSpec, Report
from hacdbs_sim.vmm.qmp import query_migrate
from hacdbs_sim.vmm.report import ITERATION_FIELDS, Verification

from ...service.migrations import Migration
from .base import answer
from .migrations import MigrationSpecOut, spec_out

StatusName = Literal[
    "none",
    "setup",
    "active",
    "pre-switchover",
    "device",
    "cancelling",
    "completed",
    "failed",
    "cancelled",
]
ReasonName = Literal[
    "converged",
    "max_iterations",
    "timeout",
    "refused",
    "cancel",
    "vm_deleted",
    "session_reset",
    "service_stopped",
]

_ROW: Final = attrgetter(*ITERATION_FIELDS)

QmpRamOut = TypedDict(
    "QmpRamOut",
    {
        "transferred": int,
        "remaining": int,
        "total": int,
        "duplicate": int,
        "normal": int,
        "normal-bytes": int,
        "dirty-pages-rate": int,
        "mbps": float,
        "dirty-sync-count": int,
        "dirty-sync-missed-zero-copy": int,
        "page-size": int,
        "pages-per-second": int,
        "multifd-bytes": int,
        "precopy-bytes": int,
        "downtime-bytes": int,
        "postcopy-bytes": int,
        "postcopy-requests": int,
    },
)
QmpRamOut.__doc__ = "QMP's MigrationStats: bytes, pages, and rates a second."
answer(QmpRamOut)

QueryMigrateOut = TypedDict(
    "QueryMigrateOut",
    {
        "status": StatusName,
        "total-time": int,
        "setup-time": int,
        "downtime": int,
        "expected-downtime": int,
        "cpu-throttle-percentage": int,
        "error-desc": str | None,
        "ram": QmpRamOut,
    },
)
QueryMigrateOut.__doc__ = "QMP's MigrationInfo, as query-migrate returns it; times in milliseconds."
answer(QueryMigrateOut)


@answer
class IterationOut(TypedDict):
    """One pass: a get of each slot, then its pages. Times in virtual nanoseconds."""

    iteration: int
    phase: Literal["active", "device"]
    started_ns: int
    duration_ns: int
    dirty_pages: int
    dirty_pages_per_second: int
    sent_pages: int
    sent_bytes: int
    remaining_pages: int
    throttle_percent: int
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


@answer
class TotalsOut(TypedDict):
    """Sums over all passes that have ended, and the times of the whole."""

    iterations: int
    total_ns: int
    setup_ns: int
    downtime_ns: int
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


@answer
class RefusedOut(TypedDict):
    """What the machine refused: the code of the problem, and the kernel's errno where it has one."""

    code: str
    errno: str | None
    detail: str


@answer
class ScheduledOut(TypedDict):
    """An action of the schedule that was performed; `problem` where it was refused."""

    iteration: int
    op: str
    now_ns: int
    problem: RefusedOut | None


@answer
class LostPagesOut(TypedDict):
    """Pages of a slot that the destination has not as they are, and that will not be sent."""

    slot: int
    lost_pages: int
    lost_ranges: list[Annotated[list[int], Field(min_length=2, max_length=2)]]
    ranges_omitted: int


@answer
class VerificationOut(TypedDict):
    """What the page versions prove, at the end."""

    enabled: bool
    verified: bool
    lost_pages: int
    slots: list[LostPagesOut]


@answer
class ReportOut(TypedDict):
    """A migration at one moment. Times in virtual nanoseconds."""

    status: StatusName
    reason: ReasonName | None
    problem: RefusedOut | None
    spec: MigrationSpecOut
    started_ns: int
    now_ns: int
    qmp: QueryMigrateOut
    iterations: list[IterationOut]
    scheduled: list[ScheduledOut]
    verification: VerificationOut
    totals: TotalsOut


@answer
class MigrationOut(ReportOut):
    """A migration of a VM, and its report."""

    migration_id: str
    session_id: str
    vm_id: str


@answer
class MigrationBriefOut(TypedDict):
    """A migration in a list."""

    migration_id: str
    session_id: str
    vm_id: str
    status: StatusName
    reason: ReasonName | None
    iteration_count: int
    lost_pages: int


@answer
class MigrationListOut(TypedDict):
    """Migrations, by session and number."""

    migrations: list[MigrationBriefOut]
    next_page_token: str


@answer
class IterationsOut(TypedDict):
    """The passes of a migration that have ended."""

    migration_id: str
    status: StatusName
    iterations: list[IterationOut]


def report_out(spec: MigrationSpec, report: Report) -> ReportOut:
    """Project a report."""
    return {
        "status": report.status.value,
        "reason": None if report.reason is None else report.reason.value,
        "problem": None if report.refused is None else _same(report.refused),
        "spec": spec_out(spec),
        "started_ns": report.started_ns,
        "now_ns": report.now_ns,
        "qmp": qmp_out(report),
        "iterations": iterations_out(report),
        "scheduled": [
            {
                "iteration": each.iteration,
                "op": each.op,
                "now_ns": each.now_ns,
                "problem": None if each.refused is None else _same(each.refused),
            }
            for each in report.scheduled
        ],
        "verification": _verification_out(report.verification),
        "totals": _same(report.totals),
    }


def migration_out(migration: Migration) -> MigrationOut:
    """Project a migration."""
    return {
        "migration_id": migration.migration_id,
        "session_id": migration.session_id,
        "vm_id": migration.vm_id,
        **report_out(migration.spec, migration.report()),
    }


def migration_brief_out(migration: Migration) -> MigrationBriefOut:
    """Project a migration, in short."""
    report = migration.report()
    return {
        "migration_id": migration.migration_id,
        "session_id": migration.session_id,
        "vm_id": migration.vm_id,
        "status": report.status.value,
        "reason": None if report.reason is None else report.reason.value,
        "iteration_count": len(report.iterations),
        "lost_pages": report.verification.lost_pages,
    }


def qmp_out(report: Report) -> QueryMigrateOut:
    """Project what query-migrate returns."""
    return cast("QueryMigrateOut", query_migrate(report))


def iterations_out(report: Report) -> list[IterationOut]:
    """Project the passes."""
    rows = [dict(zip(ITERATION_FIELDS, _ROW(each), strict=True)) for each in report.iterations]
    return cast("list[IterationOut]", rows)


def iterations_csv(report: Report) -> str:
    """Write the passes as a table: a line of names, then one line each (RFC 4180)."""
    lines = [",".join(ITERATION_FIELDS)]
    lines += [",".join(map(str, _ROW(each))) for each in report.iterations]
    return "".join(line + "\r\n" for line in lines)


def _verification_out(verification: Verification) -> VerificationOut:
    return {
        "enabled": verification.enabled,
        "verified": verification.verified,
        "lost_pages": verification.lost_pages,
        "slots": [
            {
                "slot": each.slot,
                "lost_pages": each.lost_pages,
                "lost_ranges": [list(pair) for pair in each.lost_ranges],
                "ranges_omitted": each.ranges_omitted,
            }
            for each in verification.slots
        ],
    }


def _same(value: Any) -> Any:  # noqa: ANN401 - any dataclass whose fields are those of its answer
    """Project what has the same fields."""
    return asdict(value)
