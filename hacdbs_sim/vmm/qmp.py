"""A migration as QEMU's `query-migrate` reports it, for harnesses that parse that.

Keys by status are those of QEMU's fill_source_migration_info(); names, units (milliseconds, bytes,
megabits a second) and meanings are those of QMP's MigrationInfo and MigrationStats.
"""

from typing import Any, Final

from hacdbs_sim import model
from hacdbs_sim.model import MigrationStatus
from hacdbs_sim.vmm.report import Report
from hacdbs_sim.vmm.stream import TARGET_PAGE_BYTES

_NS_PER_MS: Final = 10**6
_STATUS_ALONE: Final = frozenset(
    {
        MigrationStatus.NONE,
        MigrationStatus.SETUP,
        MigrationStatus.CANCELLED,
        MigrationStatus.FAILED,
    }
)


def query_migrate(report: Report) -> model.QueryMigrate:
    """Return what `query-migrate` returns."""
    status = report.status
    given: dict[str, Any] = {"status": status}
    if report.refused is not None:
        given["error_desc"] = report.refused.detail
    if status in _STATUS_ALONE:
        return model.QueryMigrate(**given)
    given["total_time"] = (report.now_ns - report.started_ns) // _NS_PER_MS
    given["setup_time"] = report.setup_ns // _NS_PER_MS
    if status is MigrationStatus.COMPLETED or status.is_postcopy:
        given["downtime"] = report.downtime_ns // _NS_PER_MS
    else:
        given["expected_downtime"] = report.stats.expected_downtime_ns // _NS_PER_MS
    if report.throttle_percent and status is not MigrationStatus.COMPLETED:
        given["cpu_throttle_percentage"] = report.throttle_percent
    return model.QueryMigrate(ram=_ram(report), **given)


def _ram(report: Report) -> model.QmpRam:
    stats = report.stats
    is_completed = report.status is MigrationStatus.COMPLETED
    mbps = stats.mbps
    if is_completed and (sending_ns := report.now_ns - report.started_ns - report.setup_ns):
        mbps = round(stats.transferred * 8_000 / sending_ns, 3)
    return model.QmpRam(
        transferred=stats.transferred,
        remaining=0 if is_completed else report.remaining_pages * report.page_size,
        total=report.total_pages * report.page_size,
        duplicate=stats.duplicate,
        normal=stats.normal,
        normal_bytes=stats.normal * TARGET_PAGE_BYTES,
        dirty_pages_rate=0 if is_completed else stats.dirty_pages_rate,
        mbps=mbps,
        dirty_sync_count=stats.syncs,
        page_size=TARGET_PAGE_BYTES,
        pages_per_second=stats.pages_per_second,
        precopy_bytes=stats.precopy,
        downtime_bytes=stats.downtime,
        postcopy_bytes=stats.postcopy,
        postcopy_requests=stats.requests,
    )
