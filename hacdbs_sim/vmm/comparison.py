"""Runs side by side: one row of figures for each."""

from dataclasses import dataclass

from hacdbs_sim.vmm.report import MigrationStatus, Reason, Report


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """What is compared; names as in a report's totals."""

    name: str
    status: MigrationStatus
    reason: Reason | None
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


def row_of(name: str, report: Report) -> ComparisonRow:
    """Give the row of one run."""
    totals = report.totals
    return ComparisonRow(
        name=name,
        status=report.status,
        reason=report.reason,
        iterations=totals.iterations,
        total_ns=totals.total_ns,
        downtime_ns=totals.downtime_ns,
        sent_bytes=totals.sent_bytes,
        get_ns=totals.get_ns,
        clear_ns=totals.clear_ns,
        guest_stall_ns=totals.guest_stall_ns,
        hardware_cleaned=totals.hardware_cleaned,
        software_cleaned=totals.software_cleaned,
        requeued=totals.requeued,
        lost_pages=report.verification.lost_pages,
    )
