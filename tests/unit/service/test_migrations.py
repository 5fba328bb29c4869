"""Migrations in the background: who waits, who is refused, what ends them and what they leave."""

import asyncio
from typing import cast

import pytest

from app.service import migration_tasks, migrations
from app.service.errors import (
    MigrationLimitError,
    MigrationRunningError,
    NoSuchComparisonError,
    NoSuchMigrationError,
    StateBytesLimitError,
)
from app.service.events import ALL_EVENTS
from app.service.fleet import Fleet, Vm
from app.service.limits import Limits
from app.service.migration_tasks import MigrationTask
from app.service.migrations import Migration, prepared
from hacdbs_sim.model import (
    Action,
    EventType,
    MigrationSpec,
    MigrationStatus,
    Reason,
    Scheduled,
)
from hacdbs_sim.vmm import LiveMigration
from tests.support.building import NOTHING_COMPARED
from tests.support.wire import HANG_SECONDS
from tests.unit.service.migrating import ENDLESS, WRITES, ended, machine, make_vm, spec, vm_spec

pytestmark = pytest.mark.anyio

SPEC = spec()
PACED = 10_000


def start(
    fleet: Fleet, vm: Vm, given: MigrationSpec = SPEC, *, pace_ms: int = 0, pace: float = 0.0
) -> Migration:
    return fleet.migrations.start(
        vm.session_id, vm.vm_id, vm.runtime, prepared(vm.runtime, given), pace_ms=pace_ms, pace=pace
    )


async def begun(fleet: Fleet) -> Migration:
    """Start an endless migration, and wait for its first pass."""
    migration = start(fleet, await make_vm(fleet, rate=4_000_000), spec(**ENDLESS), pace_ms=20)
    await migration.run.wait(lambda: bool(migration.report().iterations), HANG_SECONDS)
    return migration


async def test_it_continues_by_itself_to_the_report_that_it_has_without_the_fleet() -> None:
    fleet = Fleet(Limits())
    vm = await make_vm(fleet)

    report = await ended(start(fleet, vm))

    assert report.status is MigrationStatus.COMPLETED
    assert report == LiveMigration(machine(), SPEC).run()


async def test_into_how_many_pieces_it_is_cut_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(migration_tasks, "PIECE_SECONDS", 0)
    fleet = Fleet(Limits())

    report = await ended(start(fleet, await make_vm(fleet)))

    assert report == LiveMigration(machine(), SPEC).run()


async def test_each_phase_and_pass_is_an_event_in_virtual_time() -> None:
    fleet = Fleet(Limits())
    vm = await make_vm(fleet)

    report = await ended(start(fleet, vm))

    found = [e for e in fleet.events.after(0, ALL_EVENTS, 100).events if e.vm_id == vm.vm_id]
    seen = [e.details["status"] for e in found if e.type is EventType.MIGRATION]
    assert list(dict.fromkeys(seen)) == [
        "setup",
        "active",
        "device",
        "completed",
    ]
    assert found[-1].now_ns == report.now_ns
    assert found[-1].details["reason"] == "converged"


async def test_one_vm_has_one_migration_at_a_time() -> None:
    fleet = Fleet(Limits())
    vm = await make_vm(fleet)
    first = start(fleet, vm, pace_ms=PACED)

    with pytest.raises(MigrationRunningError, match="default-m1"):
        start(fleet, vm)
    first.run.cancel()
    await ended(first)

    assert start(fleet, vm).migration_id == "default-m2"


async def test_so_many_run_at_a_time_and_no_more() -> None:
    fleet = Fleet(Limits())
    running = [
        start(fleet, await make_vm(fleet), pace_ms=PACED)
        for _ in range(migrations.MAX_RUNNING_MIGRATIONS)
    ]
    one_more = await make_vm(fleet)

    with pytest.raises(MigrationLimitError):
        start(fleet, one_more)
    running[0].run.cancel()
    await ended(running[0])

    start(fleet, one_more)
    await fleet.migrations.stop()


async def test_the_oldest_that_ended_go_for_newer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "MAX_KEPT_MIGRATIONS_PER_SESSION", 2)
    fleet = Fleet(Limits())
    slow = start(fleet, await make_vm(fleet), pace_ms=PACED)
    vm = await make_vm(fleet)

    for _ in range(3):
        await ended(start(fleet, vm))

    kept = [each.migration_id for each in fleet.migrations.migrations("default")]
    assert kept == ["default-m1", "default-m4"]
    with pytest.raises(NoSuchMigrationError):
        fleet.migrations.migration("default-m2")
    slow.run.cancel()


async def test_a_session_never_drops_the_reports_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(migrations, "MAX_KEPT_MIGRATIONS_PER_SESSION", 1)
    fleet = Fleet(Limits())
    fleet.create_session("other")

    await ended(start(fleet, await make_vm(fleet)))
    vm = await make_vm(fleet, "other")
    for _ in range(3):
        await ended(start(fleet, vm))

    kept = [each.migration_id for each in fleet.migrations.migrations(None)]
    assert kept == ["default-m1", "other-m3"]


async def test_kept_reports_take_their_bytes_until_they_are_dropped() -> None:
    fleet = Fleet(Limits())
    vm = await make_vm(fleet)
    before = fleet.budget.used_bytes

    migration = start(fleet, vm)
    await ended(migration)
    passes = len(migration.report().iterations)
    held = fleet.budget.used_bytes - before
    fleet.reset_session("default")

    assert held == migration_tasks.bytes_of_report(passes)
    assert fleet.budget.used_bytes == 0


async def test_a_vm_that_is_deleted_ends_its_migration_and_the_report_stays() -> None:
    fleet = Fleet(Limits())
    migration = await begun(fleet)
    start(fleet, await make_vm(fleet), pace_ms=PACED)

    fleet.delete_vm(migration.vm_id)
    report = await ended(migration)

    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.VM_DELETED)
    assert fleet.migrations.migration("default-m1") is migration
    assert not fleet.migrations.migration("default-m2").run.is_over
    await fleet.migrations.stop()


async def test_a_session_that_is_reset_ends_and_forgets_and_numbers_anew() -> None:
    fleet = Fleet(Limits())
    migration = start(fleet, await make_vm(fleet), pace_ms=PACED)
    comparison = fleet.migrations.compare(
        "default", [await a_task(fleet)], NOTHING_COMPARED, pace_ms=PACED
    )

    fleet.reset_session("default")
    report = await ended(migration)

    assert report.reason is Reason.SESSION_RESET
    assert comparison.run.tasks[0].seen().reason is Reason.SESSION_RESET
    assert fleet.migrations.migrations("default") == []
    with pytest.raises(NoSuchComparisonError):
        fleet.migrations.comparison(comparison.comparison_id)
    assert start(fleet, await make_vm(fleet)).migration_id == "default-m1"


async def test_a_cancelled_one_is_cancelling_until_it_has_ended_however_often_it_is_asked() -> None:
    fleet = Fleet(Limits())
    migration = await begun(fleet)

    migration.run.cancel()
    migration.run.cancel()
    between = migration.report()
    report = await ended(migration)
    migration.run.cancel()

    assert (between.status, between.reason) == (MigrationStatus.CANCELLING, Reason.CANCEL)
    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.CANCEL)
    assert migration.report() == report


async def test_when_the_service_stops_all_end() -> None:
    fleet = Fleet(Limits())
    some = [start(fleet, await make_vm(fleet), pace_ms=PACED) for _ in range(3)]

    await fleet.migrations.stop()

    assert {each.report().reason for each in some} == {Reason.SERVICE_STOPPED}
    assert all(each.run.is_over for each in some)


async def test_what_it_holds_is_given_back_at_the_end() -> None:
    fleet = Fleet(Limits())
    vm = await make_vm(fleet)
    before = fleet.budget.used_bytes
    migration = start(fleet, vm, pace_ms=PACED)
    during = fleet.budget.used_bytes

    migration.run.cancel()
    await ended(migration)

    assert during >= before + 4 * 4096
    report = migration_tasks.bytes_of_report(len(migration.report().iterations))
    assert fleet.budget.used_bytes == before + report


async def test_without_room_for_what_arrives_it_is_refused_and_nothing_is_held() -> None:
    fleet = Fleet(Limits(max_state_bytes=16 << 10))
    vm = await make_vm(fleet)
    before = fleet.budget.used_bytes

    with pytest.raises(StateBytesLimitError):
        start(fleet, vm)

    assert fleet.budget.used_bytes == before
    assert fleet.migrations.migrations("default") == []


async def a_task(fleet: Fleet, given: MigrationSpec = SPEC) -> MigrationTask:
    runtime = await fleet.build_apart(vm_spec("default", WRITES))
    return fleet.migrations.task("one", runtime, prepared(runtime, given).migration)


async def test_a_comparison_runs_its_machines_one_after_the_other_and_lets_them_go() -> None:
    fleet = Fleet(Limits())
    before = fleet.budget.used_bytes

    comparison = fleet.migrations.compare(
        "default", [await a_task(fleet), await a_task(fleet)], NOTHING_COMPARED
    )
    await comparison.run.wait(lambda: False, HANG_SECONDS)

    assert fleet.migrations.comparisons("default") == [comparison]
    assert fleet.migrations.comparison("default-c1") is comparison
    reports = [each.report for each in comparison.run.tasks]
    assert [each.status for each in reports] == [MigrationStatus.COMPLETED] * 2
    kept = sum(migration_tasks.bytes_of_report(len(each.iterations)) for each in reports)
    assert fleet.budget.used_bytes == before + kept
    assert fleet.vms(None) == []


async def test_a_defect_ends_it_as_failed_and_wakes_its_waiters() -> None:
    fleet = Fleet(Limits())
    impossible = Scheduled(iteration=0, action=cast("Action[object]", object()))
    migration = start(fleet, await make_vm(fleet), spec(schedule=(impossible,)))

    report = await ended(migration)

    assert report.status is MigrationStatus.FAILED
    assert report.refused is not None
    assert report.refused.code == "internal_error"
    task = migration.run._task
    assert task is not None
    with pytest.raises(KeyError):
        await task


async def test_a_defect_in_one_of_several_leaves_those_before_as_they_ended() -> None:
    fleet = Fleet(Limits())
    impossible = Scheduled(iteration=0, action=cast("Action[object]", object()))
    tasks = [await a_task(fleet), await a_task(fleet, spec(schedule=(impossible,)))]

    comparison = fleet.migrations.compare("default", tasks, NOTHING_COMPARED)
    await comparison.run.wait(lambda: False, HANG_SECONDS)

    assert [each.report.status.value for each in tasks] == ["completed", "failed"]
    task = comparison.run._task
    assert task is not None
    with pytest.raises(KeyError):
        await task


async def test_a_task_that_is_cancelled_leaves_it_cancelled() -> None:
    fleet = Fleet(Limits())
    migration = await begun(fleet)
    task = migration.run._task
    assert task is not None

    task.cancel()
    await asyncio.wait([task])

    assert migration.report().reason is Reason.SERVICE_STOPPED


async def test_a_wait_ends_when_the_time_is_over_or_the_service_begins_to_stop() -> None:
    fleet = Fleet(Limits())
    migration = start(fleet, await make_vm(fleet), pace_ms=PACED)

    await migration.run.wait(lambda: False, 0)
    waiting = asyncio.ensure_future(migration.run.wait(lambda: False, HANG_SECONDS))
    await asyncio.sleep(0)
    fleet.begin_stop()
    await waiting
    late = start(fleet, await make_vm(fleet), pace_ms=PACED)
    for run in (migration.run, late.run):
        await asyncio.wait_for(run.wait(lambda: False, HANG_SECONDS), HANG_SECONDS)

    assert not migration.run.is_over
    assert not late.run.is_over
    await fleet.migrations.stop()
    fleet.begin()
