"""A migration as QEMU's `query-migrate` reports it, for harnesses that parse that.

Names, units (milliseconds, bytes, megabits per second) and meanings are those of QMP's MigrationInfo
and MigrationStats. QEMU leaves out what does not apply; here every key is always there, 0 or null
then. Zero pages are not detected, so `duplicate` is 0.
"""

from typing import Final

from hacdbs_sim import model
from hacdbs_sim.model.migrations import NS_PER_SECOND
from hacdbs_sim.vmm.report import Report

_NS_PER_MS: Final = 10**6


def query_migrate(report: Report) -> model.QueryMigrate:
    """Return what `query-migrate` returns."""
    total_ns = report.now_ns - report.started_ns
    is_over = report.status.is_final
    is_completed = report.status is model.MigrationStatus.COMPLETED
    return model.QueryMigrate(
        status=report.status,
        total_time=total_ns // _NS_PER_MS,
        setup_time=report.setup_ns // _NS_PER_MS,
        downtime=report.downtime_ns // _NS_PER_MS if is_completed else 0,
        expected_downtime=0 if is_over else report.expected_downtime_ns // _NS_PER_MS,
        cpu_throttle_percentage=0 if is_over else report.throttle_percent,
        error_desc=None if report.refused is None else report.refused.detail,
        ram=_ram(report, total_ns - report.setup_ns),
    )


def _ram(report: Report, sending_ns: int) -> model.QmpRam:
    sent_bytes = report.sent_pages * report.page_size
    downtime_bytes = sum(each.sent_bytes for each in report.iterations if each.phase == "device")
    last = report.iterations[-1] if report.iterations else None
    return model.QmpRam(
        transferred=sent_bytes,
        remaining=report.remaining_pages * report.page_size,
        total=report.total_pages * report.page_size,
        normal=report.sent_pages,
        normal_bytes=sent_bytes,
        dirty_pages_rate=last.dirty_pages_per_second if last else 0,
        mbps=round(sent_bytes * 8 * 1000 / sending_ns, 3) if sending_ns else 0.0,
        dirty_sync_count=report.syncs,
        page_size=report.page_size,
        pages_per_second=report.sent_pages * NS_PER_SECOND // sending_ns if sending_ns else 0,
        precopy_bytes=sent_bytes - downtime_bytes,
        downtime_bytes=downtime_bytes,
    )
