"""Control while it runs: by call, and by the schedule."""

from typing import Any

import pytest

from hacdbs_sim import model as a
from hacdbs_sim.model import (
    AutoConverge,
    MigrationCommand,
    MigrationStatus,
    Phase,
    Reason,
    Scheduled,
    ScheduledChange,
    SchedulePoint,
)
from hacdbs_sim.vmm import LiveMigration, Report, check_running
from hacdbs_sim.vmm.errors import InvalidMigrationStateError
from tests.unit.vmm.source import (
    MS,
    SLOW,
    US,
    S,
    frames,
    migrated,
    sent,
    slow,
    source,
    spec,
    until,
)

WINDOW = 100_750_000


def a_slow_one(**fields: Any) -> LiveMigration:
    return LiveMigration(source(writes_per_second=250), spec(**slow(**fields)))


def command(name: MigrationCommand) -> ScheduledChange:
    return ScheduledChange(command=name)


def at_pass(number: int, **change: Any) -> Scheduled:
    return Scheduled(iteration=number, set=ScheduledChange(**change))


def summary(report: Report) -> list[tuple[int, str, str | None]]:
    return [(each.iteration, each.by, each.command) for each in report.changes]


def test_a_larger_downtime_limit_ends_it_earlier() -> None:
    """After pass 1 there are 151 pages to send: over the limit before, and within it now."""
    schedule = (at_pass(1, downtime_limit_ns=1_000 * MS),)

    report = LiveMigration(source(writes_per_second=250), spec(**slow(schedule=schedule))).run()

    assert report.status is MigrationStatus.COMPLETED
    assert len(report.iterations) < 5
    assert report.spec.downtime_limit_ns == 1_000 * MS
    assert summary(report) == [(1, "schedule", None)]
    assert report.changes[0].settings == a.UpdateMigration(downtime_limit_ns=1_000 * MS)


def test_a_ramp_of_the_limit_converges_by_call_and_by_schedule_alike() -> None:
    limits = [1, 100, 300, 500, 800, 1_000]
    schedule = tuple(at_pass(n, downtime_limit_ns=limit * MS) for n, limit in enumerate(limits, 1))
    busy = {"max_iterations": 10}

    def one(**fields: Any) -> LiveMigration:
        machine = source(writes_per_second=1_000)
        return LiveMigration(machine, spec(**slow(downtime_limit_ns=0, **busy, **fields)))

    fixed = one().run()
    scheduled = one(schedule=schedule).run()
    called = one()
    for number, limit in enumerate(limits, 1):
        while called.progress[1] < number and called.step():
            pass
        if not called.status.is_final:
            called.request(ScheduledChange(downtime_limit_ns=limit * MS))
    by_call = called.run()

    assert fixed.status is MigrationStatus.CANCELLED
    assert scheduled.status is by_call.status is MigrationStatus.COMPLETED
    assert {each.by for each in by_call.changes} == {"call"}


def test_another_bandwidth_holds_from_the_next_window_on() -> None:
    schedule = (
        Scheduled(
            at=SchedulePoint(ns=2 * WINDOW),
            set=ScheduledChange(bandwidth_bytes_per_second=2 * SLOW),
        ),
    )

    report = LiveMigration(
        source(writes_per_second=0), spec(**slow(schedule=schedule, downtime_limit_ns=0))
    ).run()

    flushes = 2 * SLOW // 10 // (32 * 4_104) + 1
    rest = 4_096 - 2 * 128
    windows = 2 + -(-rest // (32 * flushes))
    assert report.totals.total_ns == windows * WINDOW or rest % (32 * flushes)
    assert report.totals.total_ns < 32 * WINDOW


def test_throttling_can_be_set_and_begun_while_it_runs() -> None:
    migration = a_slow_one()
    until(migration, "active")

    migration.request(ScheduledChange(throttle_percent=40, auto_converge=AutoConverge()))
    migration.step()
    report = migration.report()

    assert report.throttle_percent == 40
    assert report.spec.auto_converge == AutoConverge()


def test_the_limits_of_passes_and_time_can_be_changed() -> None:
    passes = migrated(source(), schedule=(at_pass(1, max_iterations=2),))
    time = migrated(source(), schedule=(at_pass(1, timeout_ns=5_000 * US),))

    assert (passes.reason, len(passes.iterations)) == (Reason.MAX_ITERATIONS, 3)
    assert (time.reason, time.totals.total_ns) == (Reason.TIMEOUT, 5_000 * US)


def test_a_switch_over_on_request_sends_all_the_rest_in_the_pause() -> None:
    migration = a_slow_one()
    until(migration, "active")
    migration.request(command(MigrationCommand.SWITCH_OVER))

    report = migration.run()

    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.REQUESTED)
    assert sent(report) == [0, 4_096]
    assert report.verification.lost_pages == 0
    assert summary(report) == [(0, "call", "switch_over")]


def test_a_migration_that_is_to_wait_does_so_with_the_guest_paused_until_it_is_continued() -> None:
    migration = a_slow_one(pause_before_switchover=True)
    until(migration, "pre-switchover")
    while not migration.is_waiting:
        migration.step()
    waiting_ns = migration.now_ns
    for _ in range(5):
        migration.step()

    migration.request(command(MigrationCommand.CONTINUE))
    report = migration.run()

    assert migration.now_ns > waiting_ns
    assert report.status is MigrationStatus.COMPLETED
    assert report.iterations[-1].guest_writes == 0
    assert report.verification.lost_pages == 0


def test_what_is_scheduled_with_a_time_happens_while_it_waits() -> None:
    later = 10 * S
    write = Scheduled(at=SchedulePoint(ns=later), action=a.HostWrite(pages=frames(4_000)))
    go_on = Scheduled(at=SchedulePoint(ns=later + 1), set=command(MigrationCommand.CONTINUE))

    report = migrated(source(), pause_before_switchover=True, schedule=(go_on, write))

    assert report.status is MigrationStatus.COMPLETED
    assert [each.now_ns for each in report.scheduled] == [later + 1, later]
    assert report.downtime_ns == later + 1 - 5_461 * US + US
    assert report.verification.lost_pages == 0


@pytest.mark.parametrize("name", list(MigrationCommand))
def test_a_command_that_makes_no_sense_in_pre_copy_is_refused(name: MigrationCommand) -> None:
    migration = a_slow_one()
    until(migration, "active")
    allowed = {MigrationCommand.SWITCH_OVER, MigrationCommand.CANCEL}

    if name in allowed:
        migration.check_request(command(name))
        return
    with pytest.raises(InvalidMigrationStateError, match=name.value) as refused:
        migration.request(command(name))

    assert (refused.value.field, refused.value.value) == ("status", "active")
    assert migration.report().changes == ()


def test_settings_of_an_ended_migration_are_refused() -> None:
    migration = a_slow_one()
    migration.run()

    with pytest.raises(InvalidMigrationStateError, match="completed"):
        migration.request(ScheduledChange(max_iterations=3))
    with pytest.raises(InvalidMigrationStateError):
        check_running(MigrationStatus.FAILED)


LONG_DEVICE = {
    "device_state_bytes": SLOW,
    "device_state_ns": S,
    "link": a.LinkSpec(bytes_per_second=SLOW, latency_ns=S),
}
"""A second each for the state of the devices, to load it, and for the way."""


@pytest.mark.parametrize("postcopy", [None, a.PostcopySpec(after_iterations=1)])
def test_what_has_a_time_happens_in_the_last_phase_too(postcopy: a.PostcopySpec | None) -> None:
    fields = {**LONG_DEVICE, "postcopy": postcopy, "downtime_limit_ns": 10**15}
    plain = migrated(source(npages=64, writes_per_second=0), **fields)
    times = tuple(plain.now_ns - half * S // 2 for half in (1, 3, 5))
    items = tuple(
        Scheduled(at=SchedulePoint(ns=ns), action=a.HostWrite(pages=frames(0))) for ns in times
    )

    report = migrated(source(npages=64, writes_per_second=0), **fields, schedule=items)

    assert [each.now_ns for each in report.scheduled] == list(times)
    assert report.totals.total_ns == plain.totals.total_ns
    assert report.verification.lost_pages == 1


def test_settings_that_come_in_the_last_phase_are_applied() -> None:
    migration = LiveMigration(source(writes_per_second=0), spec(**LONG_DEVICE))
    until(migration, "device")
    migration.request(ScheduledChange(downtime_limit_ns=1))

    report = migration.run()

    assert report.spec.downtime_limit_ns == 1
    assert [each.by for each in report.changes] == ["call"]


def test_a_schedule_can_cancel_in_the_last_phase() -> None:
    cancel = Scheduled(at=SchedulePoint(ns=2 * S), set=command(MigrationCommand.CANCEL))

    report = migrated(source(npages=64, writes_per_second=0), **LONG_DEVICE, schedule=(cancel,))

    assert (report.status, report.now_ns) == (MigrationStatus.CANCELLED, 2 * S)


@pytest.mark.parametrize("status", ["pre-switchover", "device"])
@pytest.mark.parametrize("name", [MigrationCommand.SWITCH_OVER, MigrationCommand.START_POSTCOPY])
def test_how_it_ends_cannot_be_changed_once_the_guest_is_stopped(
    status: str, name: MigrationCommand
) -> None:
    pauses = status == "pre-switchover"
    migration = a_slow_one(pause_before_switchover=pauses, postcopy=a.PostcopySpec())
    until(migration, status)

    with pytest.raises(InvalidMigrationStateError, match=f"{name.value}.*{status}"):
        migration.request(command(name))


def test_a_schedule_can_cancel() -> None:
    report = migrated(source(), schedule=(at_pass(2, command=MigrationCommand.CANCEL),))

    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.CANCEL)
    assert report.verification.lost_pages == 0


def test_a_schedule_can_continue_what_waits() -> None:
    go_on = Scheduled(
        at=SchedulePoint(phase=Phase.PRE_SWITCHOVER), set=command(MigrationCommand.CONTINUE)
    )

    report = migrated(source(), pause_before_switchover=True, schedule=(go_on,))

    assert report.status is MigrationStatus.COMPLETED
    assert report.scheduled[0].problem is None
