"""A migration as QEMU's `query-migrate` would tell it, for harnesses that parse that.

Names, units (milliseconds, bytes, megabits per second) and meanings are those of QMP's MigrationInfo
and MigrationStats. QEMU leaves out what does not apply; here every key is always there, 0 or null
then. Zero pages are not told from others, so `duplicate` is 0.
"""

from typing import Any, Final

from hacdbs_sim.vmm.report import MigrationStatus, Report
from hacdbs_sim.vmm.spec import NS_PER_SECOND

_NS_PER_MS: Final = 10**6


def query_migrate(report: Report) -> dict[str, Any]:
    """Give the return value of `query-migrate`."""
    total_ns = report.now_ns - report.started_ns
    last = report.iterations[-1] if report.iterations else None
    error = None if report.refused is None else report.refused.detail
    is_over = report.status.is_final
    return {
        "status": report.status.value,
        "total-time": total_ns // _NS_PER_MS,
        "setup-time": report.setup_ns // _NS_PER_MS,
        "downtime": report.downtime_ns // _NS_PER_MS
        if report.status is MigrationStatus.COMPLETED
        else 0,
        "expected-downtime": 0 if is_over else report.expected_downtime_ns // _NS_PER_MS,
        "cpu-throttle-percentage": 0 if is_over else report.throttle_percent,
        "error-desc": error,
        "ram": _ram(report, total_ns - report.setup_ns, last.dirty_pages_per_second if last else 0),
    }


def _ram(report: Report, sending_ns: int, dirty_pages_per_second: int) -> dict[str, Any]:
    sent_bytes = report.sent_pages * report.page_size
    downtime_bytes = sum(
        each.sent_bytes for each in report.iterations if each.phase == MigrationStatus.DEVICE.value
    )
    return {
        "transferred": sent_bytes,
        "remaining": report.remaining_pages * report.page_size,
        "total": report.total_pages * report.page_size,
        "duplicate": 0,
        "normal": report.sent_pages,
        "normal-bytes": sent_bytes,
        "dirty-pages-rate": dirty_pages_per_second,
        "mbps": round(sent_bytes * 8 * 1000 / sending_ns, 3) if sending_ns else 0.0,
        "dirty-sync-count": report.syncs,
        "dirty-sync-missed-zero-copy": 0,
        "page-size": report.page_size,
        "pages-per-second": report.sent_pages * NS_PER_SECOND // sending_ns if sending_ns else 0,
        "multifd-bytes": 0,
        "precopy-bytes": sent_bytes - downtime_bytes,
        "downtime-bytes": downtime_bytes,
        "postcopy-bytes": 0,
        "postcopy-requests": 0,
    }
