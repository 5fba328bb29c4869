"""Post-copy: the guest runs at the destination, and fetches what it lacks."""

from typing import Any

import pytest

from hacdbs_sim import model as a
from hacdbs_sim.model import (
    LinkEvent,
    LinkEventType,
    LinkSpec,
    MigrationCommand,
    MigrationStatus,
    Phase,
    Point,
    PostcopyReport,
    PostcopySpec,
    Reason,
    Scheduled,
    ScheduledChange,
    SchedulePoint,
)
from hacdbs_sim.model import TimeoutStrategy as Strategy
from hacdbs_sim.vmm import DirtyTracking, LiveMigration, Report
from hacdbs_sim.vmm.errors import InvalidMigrationStateError
from tests.support.machine import Machine
from tests.unit.vmm.source import (
    LOGS,
    MS,
    NPAGES,
    SLOW,
    US,
    S,
    frames,
    migrated,
    quiet,
    sent,
    source,
    spec,
    until,
)

LINE = SLOW
"""A link that takes a millisecond for a page."""


def fields(*events: LinkEvent, latency_ns: int = 0, **more: Any) -> dict[str, Any]:
    """Pre-copy of one pass over a link of a millisecond a page, then post-copy."""
    return {
        "bandwidth_bytes_per_second": 10**9,
        "downtime_limit_ns": 0,
        "link": LinkSpec(bytes_per_second=LINE, latency_ns=latency_ns, events=events),
        "postcopy": PostcopySpec(after_iterations=1),
        **more,
    }


def a_guest(writes_per_second: int = 250, **more: Any) -> Machine:
    return source(writes_per_second=writes_per_second, **more)


def postcopy_of(report: Report) -> PostcopyReport:
    assert report.postcopy is not None
    return report.postcopy


def command(name: MigrationCommand) -> ScheduledChange:
    return ScheduledChange(command=name)


def failure(at_ns: int, recovers_ns: int | None = None) -> LinkEvent:
    return LinkEvent(type=LinkEventType.FAILURE, at_ns=at_ns, duration_ns=recovers_ns)


def test_what_is_stale_at_the_stop_is_dropped_and_all_of_it_arrives_once() -> None:
    """A guest that stands still in post-copy: 1,024 pages at a millisecond each."""
    stop = Scheduled(at=SchedulePoint(phase=Phase.DEVICE), action=a.DeleteWorkloads())

    report = migrated(a_guest(), **fields(schedule=(stop,)))

    found = postcopy_of(report)
    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.POSTCOPY)
    assert [each.phase for each in report.iterations] == ["active", "active", "device", "postcopy"]
    assert found.discarded_pages == found.background_pages == 1_024
    assert (found.requests, found.requested_pages, found.blocked_ns) == (0, 0, 0)
    assert found.started_ns == 4_096 * MS
    assert report.totals.total_ns == pytest.approx((4_096 + 1_024) * MS, abs=50 * MS)
    assert report.verification.verified
    assert report.verification.lost_pages == 0


def test_the_pause_is_no_longer_than_the_stop_the_devices_and_the_link() -> None:
    report = migrated(
        a_guest(),
        **fields(
            latency_ns=3 * US, stop_latency_ns=MS, device_state_ns=5 * MS, device_state_bytes=41_040
        ),
    )

    assert report.downtime_ns == MS + 5 * MS + 10 * MS + 3 * US


def test_a_fault_fetches_its_page_and_keeps_the_guest_for_two_ways_and_the_page() -> None:
    """The guest goes on from page 1,024 on, and around to those that are missing."""
    report = migrated(
        source(npages=100, writes_per_second=2_000),
        **fields(latency_ns=2 * MS, postcopy=PostcopySpec(bandwidth_bytes_per_second=1_000_000)),
        schedule=(
            Scheduled(at=SchedulePoint(ns=30 * MS), set=command(MigrationCommand.START_POSTCOPY)),
        ),
    )

    found = postcopy_of(report)
    assert found.requests > 0
    assert found.requested_pages == found.requests
    assert found.blocked_ns == found.requests * (2 * 2 * MS + MS)
    assert found.requested_pages + found.background_pages == found.discarded_pages
    assert report.stats.requests == found.requests
    assert report.totals.requested_pages == found.requested_pages
    assert report.totals.blocked_ns == found.blocked_ns
    assert report.verification.lost_pages == 0


@pytest.mark.parametrize("phase", [Phase.POSTCOPY_ACTIVE, None])
def test_a_write_of_somebody_else_to_a_missing_page_is_a_request_too(phase: Phase | None) -> None:
    at = SchedulePoint(phase=phase) if phase else SchedulePoint(ns=5 * S)
    missing = a.GuestWrite(pages=frames(0, 2_000))
    items = (
        Scheduled(iteration=1, action=missing),
        Scheduled(at=at, action=a.GuestWrite(pages=frames(1_999))),
    )

    report = migrated(quiet(), **fields(schedule=items))

    assert postcopy_of(report).requests == 1
    assert postcopy_of(report).background_pages == 1_999
    assert report.verification.lost_pages == 0


def test_more_vcpus_wait_at_the_same_time() -> None:
    def blocked(vcpus: int) -> float:
        machine = Machine(a.VmConfig(vcpus=vcpus, manual_dirty_log_protect2=1))
        machine.perform(a.SetMemslot(slot=0, guest_phys_addr=0, memory_size=256 * 4096))
        machine.perform(a.AddUniform(slot=0, writes_per_second=20_000))
        report = migrated(machine, **fields(latency_ns=50 * MS))
        found = postcopy_of(report)
        return found.blocked_ns / found.requests

    assert blocked(4) < blocked(1) / 2


def test_a_block_of_the_backing_is_fetched_whole() -> None:
    machine = Machine(a.VmConfig(manual_dirty_log_protect2=1))
    block = 2 << 20
    machine.perform(a.SetMemslot(slot=0, guest_phys_addr=0, memory_size=4 * block, backing=block))
    machine.perform(a.AddSequential(slot=0, first_page=1_024, writes_per_second=100))

    report = migrated(
        machine,
        **fields(
            postcopy=PostcopySpec(),
            schedule=(
                Scheduled(at=SchedulePoint(ns=MS), set=command(MigrationCommand.START_POSTCOPY)),
            ),
        ),
    )

    found = postcopy_of(report)
    assert found.requests >= 1
    assert found.requested_pages > 400 * found.requests
    assert report.verification.lost_pages == 0


def test_the_background_stream_has_a_limit_of_its_own() -> None:
    def total_ns(limit: int | None) -> int:
        postcopy = PostcopySpec(after_iterations=1, bandwidth_bytes_per_second=limit)
        return migrated(a_guest(1_000), **fields(postcopy=postcopy)).totals.total_ns

    assert total_ns(1_100_000) > total_ns(None) + S


@pytest.mark.parametrize("limit", [1_000_000, 3_000_000])
def test_a_slow_background_stream_carries_no_more_than_its_limit(limit: int) -> None:
    stop = Scheduled(at=SchedulePoint(phase=Phase.DEVICE), action=a.DeleteWorkloads())
    postcopy = PostcopySpec(after_iterations=1, bandwidth_bytes_per_second=limit)

    report = migrated(a_guest(npages=500), **fields(postcopy=postcopy, schedule=(stop,)))

    last = report.iterations[-1]
    assert last.duration_ns == pytest.approx(last.sent_pages * 4_104 * S / limit, rel=0.05)


def test_the_limit_of_its_stream_can_be_changed_while_it_runs() -> None:
    def one() -> LiveMigration:
        slow = PostcopySpec(after_iterations=1, bandwidth_bytes_per_second=1_000_000)
        migration = LiveMigration(a_guest(0, npages=500), spec(**fields(postcopy=slow)))
        until(migration, "active")
        migration.request(ScheduledChange(command=MigrationCommand.START_POSTCOPY))
        until(migration, "postcopy-active")
        return migration

    slow, fast = one(), one()
    fast.request(ScheduledChange(postcopy_bandwidth_bytes_per_second=4_000_000))
    at_the_old_limit, report = slow.run(), fast.run()

    last = report.iterations[-1]
    assert report.spec.postcopy == PostcopySpec(
        after_iterations=1, bandwidth_bytes_per_second=4_000_000
    )
    assert last.sent_pages == at_the_old_limit.iterations[-1].sent_pages == 500
    assert last.duration_ns == pytest.approx(
        at_the_old_limit.iterations[-1].duration_ns / 4, rel=0.1
    )
    assert report.verification.lost_pages == 0


def test_its_limit_cannot_be_changed_without_it() -> None:
    migration = LiveMigration(a_guest(), spec(**fields(postcopy=None)))
    until(migration, "active")

    with pytest.raises(InvalidMigrationStateError, match="without postcopy"):
        migration.request(ScheduledChange(postcopy_bandwidth_bytes_per_second=4_000_000))

    assert migration.report().changes == ()


def test_it_begins_by_call_at_the_next_chunk_even_in_the_first_pass() -> None:
    migration = LiveMigration(a_guest(), spec(**fields(postcopy=PostcopySpec())))
    until(migration, "active")
    migration.request(command(MigrationCommand.START_POSTCOPY))

    report = migration.run()

    assert report.reason is Reason.POSTCOPY
    assert sent(report)[0] == 0
    assert postcopy_of(report).discarded_pages == NPAGES
    assert report.verification.lost_pages == 0


def test_it_waits_before_the_switch_over_where_that_is_wanted() -> None:
    items = (
        Scheduled(at=SchedulePoint(ns=10 * S), set=command(MigrationCommand.CONTINUE)),
        Scheduled(
            at=SchedulePoint(phase=Phase.PRE_SWITCHOVER, point=Point.END),
            action=a.HostWrite(pages=frames(4_000)),
        ),
    )
    migration = LiveMigration(
        a_guest(), spec(**fields(schedule=items, pause_before_switchover=True))
    )
    until(migration, "pre-switchover")
    until(migration, "device")
    waited_until_ns = migration.now_ns

    report = migration.run()

    assert waited_until_ns == 10 * S
    assert report.status is MigrationStatus.COMPLETED
    assert report.downtime_ns == 10 * S - postcopy_of(report).started_ns
    assert report.verification.lost_pages == 0


def test_it_begins_when_the_time_is_over() -> None:
    report = migrated(
        a_guest(),
        **fields(postcopy=PostcopySpec(), timeout_ns=5 * S, timeout_strategy=Strategy.POSTCOPY),
    )

    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.TIMEOUT)
    assert postcopy_of(report).started_ns == 5 * S


def test_what_the_destination_writes_is_no_part_of_the_proof_and_nothing_remains() -> None:
    report = migrated(a_guest(1_000), **fields())

    assert report.iterations[-1].guest_writes > 0
    assert report.iterations[-1].remaining_pages == 0
    assert report.verification.verified
    assert report.verification.lost_pages == 0
    assert report.verification.current_pages == NPAGES


@pytest.mark.parametrize("point", [Point.AFTER_LAST_GET, Point.END])
def test_what_is_written_after_the_last_get_is_lost_unless_it_is_still_to_be_sent(
    point: Point,
) -> None:
    items = tuple(
        Scheduled(
            at=SchedulePoint(phase=Phase.DEVICE, point=point),
            action=a.HostWrite(pages=frames(page)),
        )
        for page in (0, 4_000)
    )

    report = migrated(a_guest(), **fields(schedule=items))

    assert report.verification.slots[0].lost_ranges == ((4_000, 1),)


def test_once_the_guest_has_left_nothing_is_remembered_of_what_it_lost() -> None:
    tracking = DirtyTracking()
    machine = a_guest(flags=LOGS)
    item = Scheduled(
        at=SchedulePoint(phase=Phase.DEVICE, point=Point.END),
        action=a.HostWrite(pages=frames(4_000)),
    )
    migration = LiveMigration(machine, spec(**fields(schedule=(item,))), tracking=tracking)

    report = migration.run()

    assert report.verification.lost_pages == 1
    life = machine.query(a.GetMemslotLife(slot=0))
    assert life is not None
    assert tracking.left(life) is None


def test_pages_that_the_guest_gave_up_are_not_sent_and_not_lost() -> None:
    machine = quiet()
    machine.perform(a.HintFree(pages=frames(0, 100)))
    later = Scheduled(
        at=SchedulePoint(phase=Phase.POSTCOPY_ACTIVE), action=a.HintFree(pages=frames(200, 50))
    )

    report = migrated(
        machine,
        **fields(
            postcopy=PostcopySpec(),
            schedule=(
                Scheduled(at=SchedulePoint(ns=0), set=command(MigrationCommand.START_POSTCOPY)),
                later,
            ),
        ),
    )

    assert report.totals.sent_pages == NPAGES - 100
    assert report.verification.unneeded_pages == 100
    assert report.verification.lost_pages == 0


# Failures


@pytest.mark.parametrize("writes_per_second", [0, 250])
def test_a_link_that_fails_pauses_it_and_resume_sends_what_did_not_arrive(
    writes_per_second: int,
) -> None:
    stops = 4_096 * MS
    machine = a_guest(writes_per_second)
    migration = LiveMigration(
        machine, spec(**fields(failure(stops // 2 * 2 - 2_000 * MS), postcopy=PostcopySpec()))
    )
    until(migration, "active")
    migration.request(command(MigrationCommand.START_POSTCOPY))
    until(migration, "postcopy-paused")
    while not migration.is_waiting:
        migration.step()
    paused = migration.report()

    migration.request(command(MigrationCommand.RESUME))
    report = migration.run()

    found = postcopy_of(report)
    assert postcopy_of(paused).pauses == 1
    assert report.status is MigrationStatus.COMPLETED
    assert not migration.is_waiting
    assert found.background_pages + found.requested_pages > found.discarded_pages
    assert not found.guest_lost
    assert report.verification.verified
    assert report.verification.lost_pages == 0


def fetched(migration: LiveMigration) -> tuple[int, int]:
    found = postcopy_of(migration.report())
    return found.requested_pages, found.background_pages


@pytest.mark.parametrize("stands", [True, False])
def test_what_the_guest_has_waited_for_or_written_is_not_lost_with_the_link(
    *, stands: bool
) -> None:
    migration = LiveMigration(
        source(writes_per_second=20_000, npages=16_384),
        spec(
            postcopy=PostcopySpec(after_iterations=1, bandwidth_bytes_per_second=1_000_000),
            link=LinkSpec(latency_ns=100 * US),
        ),
    )
    until(migration, "postcopy-active")
    before = (0, 0)
    # The guest waits in steps of its own; what a step sends beside that may be on the way
    while before[0] < 100 or (before[0] == fetched(migration)[0]) is not stands:
        before = fetched(migration)
        migration.step()
    on_the_way = sum(fetched(migration)) - sum(before)

    migration.request(command(MigrationCommand.PAUSE))
    until(migration, "postcopy-paused")
    migration.request(command(MigrationCommand.RESUME))
    report = migration.run()

    assert report.status is MigrationStatus.COMPLETED
    assert sum(fetched(migration)) <= postcopy_of(report).discarded_pages + on_the_way


def test_a_command_that_has_come_ends_the_waiting_before_it_is_applied() -> None:
    migration = LiveMigration(a_guest(), spec(postcopy=PostcopySpec()))
    until(migration, "active")
    migration.request(command(MigrationCommand.START_POSTCOPY))
    until(migration, "postcopy-active")
    migration.request(command(MigrationCommand.PAUSE))
    while not migration.is_waiting:
        migration.step()

    migration.request(command(MigrationCommand.RESUME))
    while not migration.is_waiting and migration.step():
        pass

    assert migration.report().status is MigrationStatus.COMPLETED


def test_a_link_that_recovers_by_itself_needs_no_resume_and_the_guest_stood_still() -> None:
    report = migrated(a_guest(), **fields(failure(4_500 * MS, 2 * S)))

    found = postcopy_of(report)
    assert report.status is MigrationStatus.COMPLETED
    assert found.pauses == 1
    assert found.blocked_ns >= 2 * S
    assert report.verification.lost_pages == 0


def test_a_pause_by_command_is_a_pause_and_a_scheduled_resume_ends_it() -> None:
    pause = Scheduled(at=SchedulePoint(ns=4_300 * MS), set=command(MigrationCommand.PAUSE))
    resume = Scheduled(at=SchedulePoint(ns=9_000 * MS), set=command(MigrationCommand.RESUME))

    report = migrated(a_guest(), **fields(schedule=(pause, resume), latency_ns=US))

    assert [each.problem for each in report.scheduled] == [None, None]
    assert report.status is MigrationStatus.COMPLETED
    assert postcopy_of(report).pauses == 1
    assert report.totals.total_ns > 9_000 * MS
    assert report.verification.lost_pages == 0


def test_a_link_that_is_down_in_post_copy_holds_it_up_and_breaks_nothing() -> None:
    down = LinkEvent(type=LinkEventType.DOWN, at_ns=4_500 * MS, duration_ns=2 * S)

    report = migrated(a_guest(1_000), **fields(down))

    assert report.status is MigrationStatus.COMPLETED
    assert postcopy_of(report).pauses == 0
    assert postcopy_of(report).blocked_ns >= 2 * S
    assert report.verification.lost_pages == 0


def test_a_destination_that_dies_in_post_copy_takes_the_guest_with_it() -> None:
    dies = LinkEvent(type=LinkEventType.DESTINATION_DIES, at_ns=4_500 * MS)

    report = migrated(a_guest(), **fields(dies))

    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.DESTINATION_DIED)
    assert postcopy_of(report).guest_lost


def test_a_link_that_breaks_before_the_destination_runs_leaves_the_guest_at_the_source() -> None:
    breaks = failure(4_096 * MS + 500 * MS)

    report = migrated(a_guest(), **fields(breaks, device_state_bytes=10**7))

    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.LINK_FAILED)
    assert report.postcopy is None
    assert report.verification.verified
    assert report.verification.lost_pages == 0


@pytest.mark.parametrize("phase", ["postcopy-active", "postcopy-paused"])
def test_an_end_by_force_in_post_copy_loses_the_guest(phase: str) -> None:
    migration = LiveMigration(a_guest(), spec(**fields(failure(4_500 * MS))))
    until(migration, phase)
    with pytest.raises(InvalidMigrationStateError, match="postcopy"):
        migration.request(command(MigrationCommand.CANCEL))

    migration.cancel(Reason.SERVICE_STOPPED)
    report = migration.run()

    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.SERVICE_STOPPED)
    assert report.refused is not None
    assert report.refused.code == "guest_lost"
    assert postcopy_of(report).guest_lost
    assert report.verification.lost_pages == 0
    assert report.verification.pending_pages > 0


def test_a_slot_whose_pages_are_missing_and_that_goes_at_the_source_loses_the_guest() -> None:
    delete = Scheduled(at=SchedulePoint(ns=4_300 * MS), action=a.DeleteMemslot(slot=0))

    report = migrated(a_guest(), **fields(schedule=(delete,)))

    assert (report.status, report.reason) == (
        MigrationStatus.FAILED,
        Reason.MEMORY_LAYOUT_CHANGED,
    )
    assert postcopy_of(report).guest_lost
    assert report.verification.lost_pages > 0
    assert report.verification.pending_pages == 0


def test_versions_that_end_in_post_copy_end_it() -> None:
    migration = LiveMigration(a_guest(), spec(**fields()))
    until(migration, "postcopy-active")
    migration._backend.perform(a.NeedVersions(needed=False))

    report = migration.run()

    assert report.refused is not None
    assert report.refused.code == "versions_ended"


def test_pages_of_another_reader_are_no_concern_of_the_source_any_more() -> None:
    import numpy as np  # noqa: PLC0415 - one test needs it

    migration = LiveMigration(quiet(), spec(**fields()))
    while migration.status is not MigrationStatus.POSTCOPY_ACTIVE:
        migration.step()

    migration.add_pending(0, np.ones(NPAGES // 64, np.uint64))

    assert migration.report().remaining_pages == 0


def test_without_a_proof_it_fetches_and_sends_all_the_same() -> None:
    proved = migrated(a_guest(1_000), **fields(latency_ns=US))
    unproved = migrated(a_guest(1_000), **fields(latency_ns=US, verify=False))

    assert unproved.totals == proved.totals
    assert not unproved.verification.enabled


def test_throttling_ends_where_post_copy_begins() -> None:
    report = migrated(
        a_guest(4_000),
        **fields(
            auto_converge=a.AutoConverge(periodic_sync=False),
            postcopy=PostcopySpec(after_iterations=3),
        ),
    )

    percents = [each.throttle_percent for each in report.iterations]
    assert percents[2] == 20
    assert percents[-1] == 0


def test_a_schedule_in_post_copy_happens_at_its_time() -> None:
    item = Scheduled(at=SchedulePoint(ns=4_300_000_123), action=a.DeleteFaults())
    at_end = Scheduled(
        at=SchedulePoint(phase=Phase.POSTCOPY_ACTIVE, point=Point.END), action=a.DeleteFaults()
    )

    report = migrated(a_guest(), **fields(schedule=(item, at_end)))

    first, last = report.scheduled
    assert first.now_ns == 4_300_000_123
    assert last.now_ns == report.now_ns


def test_a_link_that_fails_while_the_guest_waits_for_its_faults_pauses_it() -> None:
    breaks = LinkEvent(type=LinkEventType.FAILURE, at_ns=3 * S, duration_ns=S)
    start = ScheduledChange(command=MigrationCommand.START_POSTCOPY)
    given = fields(breaks, latency_ns=MS, postcopy=PostcopySpec())
    given["schedule"] = (Scheduled(at=SchedulePoint(ns=0), set=start),)

    report = migrated(a_guest(writes_per_second=1_000_000), **given)

    assert report.postcopy is not None
    assert (report.postcopy.pauses, report.postcopy.guest_lost) == (1, False)
    assert report.postcopy.blocked_ns > S
    assert report.status is MigrationStatus.COMPLETED
    assert report.verification.lost_pages == 0
