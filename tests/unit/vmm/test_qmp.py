"""query-migrate's names, units and keys: 4,096 pages over the slow link, then 768, 128 and 86."""

from typing import Any

from hacdbs_sim.model import (
    AddCopyToUser,
    AddSequential,
    AutoConverge,
    LinkSpec,
    MigrationCommand,
    PostcopySpec,
    ScheduledChange,
    SetMemslot,
    VmConfig,
)
from hacdbs_sim.vmm import LiveMigration, Report
from hacdbs_sim.vmm.qmp import query_migrate
from hacdbs_sim.wire import to_plain
from tests.support.machine import Machine
from tests.unit.vmm.source import (
    FREE,
    MS,
    NPAGES,
    PAGE_BYTES,
    SLOW,
    migrated,
    slow,
    source,
    spec,
    until,
)

SENT = 4096 + 768 + 128 + 86
WINDOWS = 32 + 6 + 1
TOTAL_MS = WINDOWS * 100.75 + 86 * PAGE_BYTES / 1_250_000


def queried(report: Report) -> dict[str, Any]:
    """What query-migrate returns, as it is written."""
    reply: dict[str, Any] = to_plain(query_migrate(report))
    return reply


def a_slow_one(**fields: Any) -> LiveMigration:
    return LiveMigration(source(writes_per_second=250), spec(**slow(**fields)))


def test_a_completed_migration_is_reported_in_milliseconds_and_bytes() -> None:
    reply = queried(a_slow_one().run())

    octets = SENT * PAGE_BYTES
    transferred = octets + WINDOWS * 18
    assert reply == {
        "status": "completed",
        "total-time": int(TOTAL_MS),
        "setup-time": 0,
        "downtime": 0,
        "ram": {
            "transferred": transferred,
            "remaining": 0,
            "total": 4096 * 4096,
            "duplicate": 0,
            "normal": SENT,
            "normal-bytes": SENT * 4096,
            "dirty-pages-rate": 0,
            "mbps": round(transferred * 8 / TOTAL_MS / 1_000, 3),
            "dirty-sync-count": 5,
            "dirty-sync-missed-zero-copy": 0,
            "page-size": 4096,
            "pages-per-second": 128 * 10_000_000 // 1_007_500,
            "multifd-bytes": 0,
            "precopy-bytes": (SENT - 86) * PAGE_BYTES,
            "downtime-bytes": 86 * PAGE_BYTES,
            "postcopy-bytes": 0,
            "postcopy-requests": 0,
        },
    }


def test_during_the_setup_there_is_the_status_alone() -> None:
    assert queried(a_slow_one().report()) == {"status": "setup"}


def test_after_a_cancel_there_is_the_status_alone() -> None:
    migration = a_slow_one()
    until(migration, "active")
    migration.cancel()

    assert queried(migration.run()) == {"status": "cancelled"}


def test_a_running_migration_has_what_remains_and_expects_the_limit_at_first() -> None:
    migration = a_slow_one(downtime_limit_ns=7 * MS)
    until(migration, "active")

    reply = queried(migration.report())

    assert (reply["status"], reply["expected-downtime"]) == ("active", 7)
    assert "downtime" not in reply
    assert reply["ram"]["remaining"] == NPAGES * 4096
    assert reply["ram"]["dirty-sync-count"] == 1
    assert reply["ram"]["mbps"] == 0.0


def test_what_remains_falls_while_a_pass_is_sent_and_the_count_is_that_of_the_pass() -> None:
    migration = LiveMigration(source(writes_per_second=250), spec(**slow()))
    seen = []
    while migration.step():
        ram = queried(migration.report()).get("ram")
        if ram is not None and migration.status.value == "active":
            seen.append((migration.progress[1] + 1, ram["dirty-sync-count"], ram["remaining"]))

    assert all(number == count for number, count, _ in seen)
    of_first = [remaining for number, _, remaining in seen if number == 1]
    assert sorted(of_first, reverse=True) == of_first
    assert len(set(of_first)) > 20


def test_the_downtime_is_expected_from_what_remained_at_the_last_sync() -> None:
    migration = a_slow_one()
    while migration.progress[1] < 2:
        migration.step()

    reply = queried(migration.report())

    window_bytes = 128 * PAGE_BYTES + 18
    assert reply["expected-downtime"] == int(806 * 4096 / (window_bytes / 100.75))
    assert reply["ram"]["dirty-pages-rate"] == 250


def test_throttling_is_reported_while_it_lasts() -> None:
    migration = LiveMigration(
        source(writes_per_second=4_000),
        spec(
            **slow(
                auto_converge=AutoConverge(periodic_sync=False),
                max_iterations=4,
                downtime_limit_ns=0,
                link=LinkSpec(bytes_per_second=SLOW),
                timeout_strategy="switch_over",
            )
        ),
    )
    before = queried(migration.report())
    while migration.progress[1] < 3:
        migration.step()

    during = queried(migration.report())
    migration.request(ScheduledChange(command=MigrationCommand.SWITCH_OVER))
    after = queried(migration.run())

    assert "cpu-throttle-percentage" not in before
    assert during["cpu-throttle-percentage"] == 20
    assert "cpu-throttle-percentage" not in after


def test_a_failure_is_reported_with_its_cause() -> None:
    machine = source(manual=0)
    machine.perform(AddCopyToUser())

    reply = queried(migrated(machine))

    assert reply.keys() == {"status", "error-desc"}
    assert reply["status"] == "failed"
    assert "copy_to_user" in reply["error-desc"]


def test_in_post_copy_there_is_the_downtime_and_no_expectation() -> None:
    migration = a_slow_one(postcopy=PostcopySpec(after_iterations=1), stop_latency_ns=3 * MS)
    until(migration, "postcopy-active")

    during = queried(migration.report())
    after = queried(migration.run())

    assert (during["status"], during["downtime"]) == ("postcopy-active", 3)
    assert "expected-downtime" not in during
    assert after["ram"]["postcopy-bytes"] > 0
    assert after["downtime"] == 3


def test_the_dirty_rate_is_of_pages_of_the_stream_where_those_of_the_guest_are_larger() -> None:
    machine = Machine(VmConfig(page_size=65_536, costs=FREE))
    machine.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=256 << 20))
    machine.perform(AddSequential(slot=0, writes_per_second=100))
    migration = LiveMigration(machine, spec(bandwidth_bytes_per_second=100 << 20))

    while not (rate := migration.report().stats.dirty_pages_rate):
        migration.step()

    assert rate // 16 in {99, 100}
    assert queried(migration.report())["ram"]["dirty-pages-rate"] == rate
