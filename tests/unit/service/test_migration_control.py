"""Migrations that are changed while they run, by calls and by a schedule, and those that wait."""

import asyncio
from typing import Any

import pytest

from app.http.routes.migrations import has_reached
from app.service.fleet import Fleet, Vm
from app.service.limits import Limits
from app.service.migrations import Migration, prepared
from hacdbs_sim.model import (
    AutoConverge,
    MigrationCommand,
    MigrationSpec,
    MigrationStatus,
    PostcopySpec,
    Reason,
    Scheduled,
    ScheduledChange,
    SchedulePoint,
    UpdateMigration,
)
from hacdbs_sim.vmm.errors import InvalidMigrationStateError
from tests.support.wire import HANG_SECONDS
from tests.unit.service.migrating import ENDLESS, IN_POSTCOPY, SLOWLY, ended, make_vm, reached, spec

pytestmark = pytest.mark.anyio

SECOND = 10**9
HOT = 100_000
"""Writes a second: more than 64 MB/s carries."""


def start(fleet: Fleet, vm: Vm, given: MigrationSpec, **pace: Any) -> Migration:
    return fleet.migrations.start(
        vm.session_id, vm.vm_id, vm.runtime, prepared(vm.runtime, given), **pace
    )


async def started(given: MigrationSpec, rate: int = HOT, **pace: Any) -> tuple[Fleet, Migration]:
    fleet = Fleet(Limits())
    return fleet, start(fleet, await make_vm(fleet, rate=rate), given, **pace)


def command(name: MigrationCommand) -> ScheduledChange:
    return ScheduledChange(command=name)


async def waiting_before_switchover() -> tuple[Fleet, Migration]:
    fleet, migration = await started(spec(pause_before_switchover=True), rate=1_000)
    await reached(migration, "pre-switchover")
    return fleet, migration


async def test_a_change_takes_effect_from_the_next_chunk_on_and_is_reported() -> None:
    _, migration = await started(spec(**ENDLESS))

    migration.run.request(ScheduledChange(bandwidth_bytes_per_second=10**9, max_iterations=3))
    report = await ended(migration)

    assert report.reason is Reason.MAX_ITERATIONS
    assert [each.sent_pages > 0 for each in report.iterations] == [True, True, True, False]
    assert report.spec.bandwidth_bytes_per_second == 10**9
    (change,) = report.changes
    assert (change.by, change.command, change.iteration) == ("call", None, 0)
    assert change.settings == UpdateMigration(bandwidth_bytes_per_second=10**9, max_iterations=3)
    # The first pass would have taken 260 ms at the bandwidth of the start
    assert report.iterations[0].duration_ns < SECOND // 10


async def test_throttling_is_set_by_a_change() -> None:
    _, migration = await started(spec(downtime_limit_ns=0, max_iterations=2))

    migration.run.request(
        ScheduledChange(throttle_percent=99, auto_converge=AutoConverge(initial=99))
    )
    report = await ended(migration)

    assert report.iterations[0].throttled_ns > 0.9 * report.iterations[0].duration_ns
    assert report.iterations[1].throttle_percent == 99


def ramp(*steps: tuple[int, int]) -> tuple[Scheduled, ...]:
    return tuple(
        Scheduled(at=SchedulePoint(ns=ns), set=ScheduledChange(downtime_limit_ns=limit))
        for ns, limit in steps
    )


NOVA = ((SECOND, 50_000_000), (2 * SECOND, 100_000_000), (3 * SECOND, 400_000_000))
"""Nova's live_migration_downtime_steps: a little more after each step."""

KUBEVIRT = ((3 * SECOND, 10 * SECOND),)
"""KubeVirt's tuneDowntime: one large limit after a time without progress."""


@pytest.mark.parametrize("steps", [NOVA, KUBEVIRT], ids=["nova", "kubevirt"])
async def test_a_downtime_limit_that_rises_by_a_schedule_lets_a_busy_guest_move(
    steps: tuple[tuple[int, int], ...],
) -> None:
    _, migration = await started(spec(**ENDLESS, schedule=ramp(*steps)))

    report = await ended(migration)

    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.CONVERGED)
    assert [change.settings.downtime_limit_ns for change in report.changes] == [
        limit for _, limit in steps
    ]
    assert [change.now_ns for change in report.changes] == [
        pytest.approx(report.started_ns + ns, abs=SECOND // 10) for ns, _ in steps
    ]
    assert {change.by for change in report.changes} == {"schedule"}
    assert report.now_ns - report.started_ns > steps[-1][0]
    assert report.verification.lost_pages == 0


@pytest.mark.parametrize("steps", [NOVA, KUBEVIRT], ids=["nova", "kubevirt"])
async def test_a_downtime_limit_that_rises_by_calls_lets_a_busy_guest_move(
    steps: tuple[tuple[int, int], ...],
) -> None:
    _, migration = await started(spec(**ENDLESS), pace=0.01)

    for ns, limit in steps:
        await migration.run.wait(
            lambda ns=ns: migration.report().now_ns >= ns,  # type: ignore[misc]
            HANG_SECONDS,
        )
        migration.run.request(ScheduledChange(downtime_limit_ns=limit))
    report = await ended(migration)

    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.CONVERGED)
    assert [change.settings.downtime_limit_ns for change in report.changes] == [
        limit for _, limit in steps
    ]
    assert {change.by for change in report.changes} == {"call"}


async def test_a_switch_over_by_call_ends_it_however_much_remains() -> None:
    _, migration = await started(spec(**ENDLESS))

    migration.run.request(command(MigrationCommand.SWITCH_OVER))
    report = await ended(migration)

    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.REQUESTED)
    assert report.iterations[-1].sent_pages > 1_000


async def test_with_pause_before_switchover_it_waits_until_it_may_continue() -> None:
    _, migration = await waiting_before_switchover()
    waiting = migration.report()

    migration.run.request(command(MigrationCommand.CONTINUE))
    report = await ended(migration)

    assert migration.run.tasks[0].is_over
    assert waiting.iterations[-1].phase == "active"
    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.CONVERGED)
    assert [change.command for change in report.changes] == [MigrationCommand.CONTINUE]


async def test_one_that_waits_can_be_cancelled() -> None:
    _, migration = await waiting_before_switchover()

    migration.cancel()
    report = await ended(migration)

    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.CANCEL)


async def test_one_that_waits_ends_with_its_vm() -> None:
    fleet, migration = await waiting_before_switchover()

    fleet.delete_vm(migration.vm_id)
    report = await ended(migration)

    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.VM_DELETED)


async def test_one_that_waits_ends_with_its_session() -> None:
    fleet, migration = await waiting_before_switchover()

    fleet.reset_session("default")
    report = await ended(migration)

    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.SESSION_RESET)


async def test_one_that_waits_ends_with_the_service() -> None:
    fleet, migration = await waiting_before_switchover()

    await asyncio.wait_for(fleet.migrations.stop(), HANG_SECONDS)

    assert migration.run.is_over
    assert migration.report().reason is Reason.SERVICE_STOPPED


async def test_post_copy_starts_by_call() -> None:
    given = spec(**ENDLESS, postcopy=PostcopySpec())
    _, migration = await started(given)

    migration.run.request(command(MigrationCommand.START_POSTCOPY))
    report = await ended(migration)

    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.POSTCOPY)
    assert report.postcopy is not None
    assert report.postcopy.background_pages + report.postcopy.requested_pages > 0


async def test_post_copy_is_paused_and_resumed_by_calls() -> None:
    _, migration = await started(spec(**IN_POSTCOPY), pace=SLOWLY)
    await reached(migration, "postcopy-active")

    migration.run.request(command(MigrationCommand.PAUSE))
    paused = await reached(migration, "postcopy-paused")
    came_to = [phase for phase in MigrationStatus if has_reached(migration, phase)]
    migration.run.request(command(MigrationCommand.RESUME))
    resumed = await reached(migration, "postcopy-active")
    migration.run.cancel(Reason.SERVICE_STOPPED)
    report = await ended(migration)

    assert came_to == [
        MigrationStatus.NONE,
        MigrationStatus.SETUP,
        MigrationStatus.ACTIVE,
        MigrationStatus.PRE_SWITCHOVER,
        MigrationStatus.DEVICE,
        MigrationStatus.POSTCOPY_PAUSED,
    ]
    assert paused.postcopy is not None
    assert (paused.postcopy.pauses, resumed.spec.postcopy) == (1, report.spec.postcopy)
    commands = [change.command for change in report.changes if change.by == "call"]
    assert commands == [MigrationCommand.PAUSE, MigrationCommand.RESUME]


async def test_post_copy_cannot_be_cancelled_and_loses_the_guest_when_it_is_ended() -> None:
    fleet, migration = await started(spec(**IN_POSTCOPY), pace=SLOWLY)
    await reached(migration, "postcopy-active")

    with pytest.raises(InvalidMigrationStateError, match="postcopy-active"):
        migration.cancel()
    still = migration.report().status
    fleet.delete_vm(migration.vm_id)
    report = await ended(migration)

    assert still is MigrationStatus.POSTCOPY_ACTIVE
    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.VM_DELETED)
    assert report.refused is not None
    assert report.refused.code == "guest_lost"
    assert report.postcopy is not None
    assert report.postcopy.guest_lost


async def test_a_cancellation_that_comes_as_post_copy_begins_is_without_effect() -> None:
    _, migration = await started(spec(**IN_POSTCOPY), pace=SLOWLY)
    await reached(migration, "postcopy-active")

    migration.run.cancel()  # as the call does that saw it in pre-copy
    seen = migration.report().status
    migration.run.request(command(MigrationCommand.PAUSE))
    paused = await reached(migration, "postcopy-paused")
    migration.run.cancel(Reason.SERVICE_STOPPED)

    assert seen is MigrationStatus.POSTCOPY_ACTIVE
    assert paused.reason is Reason.POSTCOPY


@pytest.mark.parametrize(
    "change",
    [
        ScheduledChange(downtime_limit_ns=1),
        command(MigrationCommand.SWITCH_OVER),
        command(MigrationCommand.CONTINUE),
        command(MigrationCommand.RESUME),
    ],
)
async def test_nothing_of_one_that_has_ended_can_be_changed(change: ScheduledChange) -> None:
    _, migration = await started(spec(), rate=1_000)
    before = await ended(migration)

    with pytest.raises(InvalidMigrationStateError, match="completed"):
        migration.run.request(change)

    assert migration.report() == before


@pytest.mark.parametrize(
    "name",
    [
        MigrationCommand.CONTINUE,
        MigrationCommand.PAUSE,
        MigrationCommand.RESUME,
        MigrationCommand.START_POSTCOPY,
    ],
)
async def test_a_command_in_the_wrong_phase_is_refused_and_leaves_it_as_it_was(
    name: MigrationCommand,
) -> None:
    _, migration = await started(spec(**ENDLESS))

    with pytest.raises(InvalidMigrationStateError, match=name.value):
        migration.run.request(command(name))

    assert migration.report().changes == ()
    migration.run.cancel()


async def test_the_pace_changes_nothing_but_the_real_time() -> None:
    _, slow = await started(spec(), rate=1_000, pace=0.1)
    _, fast = await started(spec(), rate=1_000)

    assert (await ended(slow)).iterations == (await ended(fast)).iterations
