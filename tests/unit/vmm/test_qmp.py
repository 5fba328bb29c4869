"""query-migrate's names and units: 4,096 pages, then 1,024, 256, and 64 with the guest paused."""

from typing import Any

from hacdbs_sim.model import AddCopyToUser, AutoConverge
from hacdbs_sim.vmm import Precopy, Report
from hacdbs_sim.vmm.qmp import query_migrate
from hacdbs_sim.wire import to_plain
from tests.unit.vmm.source import US, migrated, source, spec, until

SENT = 4096 + 1024 + 256 + 64
MILLISECONDS = 1_000
"""Pages a millisecond, with writes and link a thousand times slower than elsewhere."""


def queried(report: Report) -> dict[str, Any]:
    """What query-migrate returns, as it is written."""
    reply: dict[str, Any] = to_plain(query_migrate(report))
    return reply


def slow(**fields: object) -> dict[str, object]:
    return {
        "bandwidth_bytes_per_second": 4_096_000,
        "downtime_limit_ns": 100 * MILLISECONDS * US,
        **fields,
    }


def test_a_completed_migration_is_reported_in_milliseconds_and_bytes() -> None:
    reply = queried(migrated(source(writes_per_second=250), **slow()))

    assert reply == {
        "status": "completed",
        "total-time": SENT,
        "setup-time": 0,
        "downtime": 64,
        "expected-downtime": 0,
        "cpu-throttle-percentage": 0,
        "error-desc": None,
        "ram": {
            "transferred": SENT * 4096,
            "remaining": 0,
            "total": 4096 * 4096,
            "duplicate": 0,
            "normal": SENT,
            "normal-bytes": SENT * 4096,
            "dirty-pages-rate": 250,
            "mbps": 32.768,
            "dirty-sync-count": 5,
            "dirty-sync-missed-zero-copy": 0,
            "page-size": 4096,
            "pages-per-second": 1_000,
            "multifd-bytes": 0,
            "precopy-bytes": (SENT - 64) * 4096,
            "downtime-bytes": 64 * 4096,
            "postcopy-bytes": 0,
            "postcopy-requests": 0,
        },
    }


def test_a_running_migration_reports_remaining_pages_and_the_expected_downtime() -> None:
    precopy = Precopy(source(writes_per_second=250), spec(**slow()))
    until(precopy, "pre-switchover")

    reply = queried(precopy.report())

    assert (reply["status"], reply["downtime"]) == ("pre-switchover", 0)
    assert reply["expected-downtime"] == 64
    assert reply["ram"]["remaining"] == 64 * 4096


def test_before_the_first_get_the_pause_is_expected_to_take_its_limit() -> None:
    reply = queried(Precopy(source(), spec(downtime_limit_ns=7_000_000)).report())

    assert (reply["status"], reply["expected-downtime"]) == ("none", 7)
    assert reply["ram"]["mbps"] == 0.0
    assert reply["ram"]["pages-per-second"] == 0


def test_throttling_is_reported_while_it_lasts() -> None:
    precopy = Precopy(
        source(writes_per_second=4_000_000), spec(auto_converge=AutoConverge(), max_iterations=4)
    )
    while precopy.progress[1] < 3:
        precopy.step()

    during = queried(precopy.report())
    after = queried(precopy.run())

    assert during["cpu-throttle-percentage"] == 20
    assert after["cpu-throttle-percentage"] == 0


def test_a_failure_is_reported_with_its_cause() -> None:
    machine = source(manual=0)
    machine.perform(AddCopyToUser())

    reply = queried(migrated(machine))

    assert reply["status"] == "failed"
    assert "copy_to_user" in reply["error-desc"]
