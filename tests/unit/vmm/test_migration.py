"""The life of a migration, reckoned by hand: 4,096 pages at a microsecond each, a write every four."""

from dataclasses import replace

import numpy as np
import pytest

from hacdbs_sim import model as a
from hacdbs_sim.model import (
    AutoConverge,
    ClearOrder,
    LinkEvent,
    LinkEventType,
    LinkSpec,
    MigrationStatus,
    Phase,
    Point,
    Reason,
    Scheduled,
    ScheduledChange,
    SchedulePoint,
)
from hacdbs_sim.model import TimeoutStrategy as Strategy
from hacdbs_sim.sim.guest import guest
from hacdbs_sim.vmm import LiveMigration, public_report, running
from hacdbs_sim.vmm.errors import InvalidMigrationStateError
from tests.unit.vmm.source import (
    FAST,
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
    slot,
    slow,
    source,
    spec,
    until,
)

PASSES = [4096, 1024, 256, 64, 16, 4, 1, 0, 0]


def test_each_pass_sends_what_was_written_during_the_one_before() -> None:
    report = migrated(source())

    assert sent(report) == PASSES
    assert [each.duration_ns for each in report.iterations] == [pages * US for pages in PASSES]
    assert [each.dirty_pages for each in report.iterations] == [0, *PASSES[1:]]
    assert [each.remaining_pages for each in report.iterations] == [*PASSES[1:], 0]
    assert [each.phase for each in report.iterations] == ["active"] * 8 + ["device"]


def test_the_guest_is_paused_for_as_long_as_the_rest_takes() -> None:
    machine = source()

    report = migrated(machine, max_iterations=3, timeout_strategy=Strategy.SWITCH_OVER)

    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.MAX_ITERATIONS)
    assert sent(report) == [4096, 1024, 256, 0, 64]
    assert report.downtime_ns == 64 * US
    assert report.totals.total_ns == (4096 + 1024 + 256 + 64) * US
    assert machine.clock().now_ns == report.now_ns
    assert machine.clock().guest_ns == report.totals.total_ns - report.downtime_ns


def test_the_dirty_rate_is_what_a_get_found_by_the_time_since_the_get_before() -> None:
    report = migrated(source())

    rates = [each.dirty_pages_per_second for each in report.iterations]
    assert rates == [0, *[250_000] * 6, 0, 0]


def test_gets_and_clears_cost_the_time_that_the_cost_model_says_and_the_guest_runs_on() -> None:
    machine = source(costs=a.CostModel(), manual=3)

    report = migrated(machine)

    for each in report.iterations:
        link_ns = each.sent_pages * US
        assert each.get_ns > 0
        assert (each.clear_ns > 0) is (each.sent_pages > 0)
        assert each.duration_ns == link_ns + each.get_ns + each.clear_ns
    first = report.iterations[0]
    assert first.guest_ns + first.guest_stall_ns == first.duration_ns


def test_the_setup_takes_what_it_costs_to_begin_to_log() -> None:
    costs = a.CostModel()

    report = migrated(source(costs=costs))

    assert report.setup_ns == costs.enable_logging_ns(NPAGES, initially_set=False)
    assert report.iterations[0].started_ns == report.setup_ns
    assert report.totals.setup_ns == report.setup_ns


@pytest.mark.parametrize("manual", [0, 1, 3])
def test_in_the_safe_order_nothing_is_lost(manual: int) -> None:
    report = migrated(source(manual=manual), clear_chunk_pages=64)

    assert report.verification.verified
    assert report.verification.lost_pages == 0


def test_each_chunk_is_cleared_by_a_call_of_its_own_before_its_first_page_is_read() -> None:
    report = migrated(source(manual=1), clear_chunk_pages=128)

    assert [each.clears for each in report.iterations] == [0, 8, 2, 1, 1, 1, 1, 0, 0]


def test_cleared_after_the_copy_exactly_what_was_written_in_between_is_lost() -> None:
    report = migrated(source(flags=LOGS, manual=3), clear_order=ClearOrder.AFTER_COPY)

    (lost,) = report.verification.slots
    assert sent(report)[:2] == [4096, 0]
    assert (lost.lost_pages, lost.lost_ranges) == (1024, ((0, 1024),))


def test_pages_written_outside_the_chunk_being_copied_are_not_lost() -> None:
    machine = source(flags=LOGS, manual=3, writes_per_second=250)
    machine.perform(slot(1, 64))

    report = migrated(
        machine,
        **slow(clear_order=ClearOrder.AFTER_COPY, clear_chunk_pages=1_024, slots=(0, 1)),
    )

    (lost, _) = report.verification.slots
    windows_before_the_clear = 7
    assert lost.lost_ranges == ((0, windows_before_the_clear * 100_750_000 // (4 * MS)),)


def test_without_page_versions_nothing_is_proved() -> None:
    machine = source(flags=LOGS, manual=3)

    report = migrated(machine, clear_order=ClearOrder.AFTER_COPY, verify=False)

    assert not report.verification.enabled
    assert report.verification.slots == ()
    assert machine.last_version is None


def test_a_read_that_fails_after_clearing_ends_it_and_its_bits_are_lost() -> None:
    machine = source(manual=0)
    machine.perform(a.AddCopyToUser(after=1))

    report = migrated(machine)

    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.REFUSED)
    assert report.refused is not None
    assert (report.refused.code, report.refused.errno) == ("copy_to_user_failed", "EFAULT")
    assert report.verification.slots[0].lost_ranges == ((0, 1024),)


def test_a_copy_that_fails_with_manual_protect_ends_it_and_loses_nothing() -> None:
    machine = source(manual=1)
    machine.perform(a.AddCopyToUser(after=1))

    report = migrated(machine)

    assert report.status is MigrationStatus.FAILED
    assert report.verification.lost_pages == 0


@pytest.mark.parametrize("phase", ["setup", "active", "pre-switchover", "device"])
def test_it_can_be_cancelled_in_every_phase_and_leaves_the_slot_as_it_was(phase: str) -> None:
    machine = source()
    migration = LiveMigration(machine, spec(pause_before_switchover=phase == "pre-switchover"))
    until(migration, phase)

    migration.cancel()
    more = migration.step()
    report = migration.report()

    assert not more
    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.CANCEL)
    assert machine.memslot(0).flags == a.MemslotFlags.NONE
    assert machine.last_version is None
    assert report.verification.lost_pages == 0


def test_an_ended_migration_does_not_change() -> None:
    migration = LiveMigration(source(), spec())
    before = migration.run()

    migration.cancel()
    migration.add_pending(0, np.ones(NPAGES // 64, np.uint64))

    assert not migration.step()
    assert migration.report() == before


def test_a_pass_that_is_cut_short_reports_sent_and_remaining_pages() -> None:
    migration = LiveMigration(source(writes_per_second=250), spec(**slow(timing=a.Timing.EXACT)))
    until(migration, "active")
    while not migration.report().stats.normal:
        migration.step()

    migration.cancel()
    migration.step()

    (cut,) = migration.report().iterations
    assert cut.sent_pages == 32
    assert cut.remaining_pages == NPAGES - 32


def test_when_the_time_is_over_it_is_cancelled() -> None:
    report = migrated(source(), timeout_ns=5_000 * US)

    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.TIMEOUT)
    assert sent(report) == [4096, 904]
    assert report.totals.total_ns == 5_000 * US
    assert report.verification.lost_pages == 0


def test_when_the_time_is_over_it_may_switch_over_whatever_the_rest_takes() -> None:
    report = migrated(source(), timeout_ns=5_000 * US, timeout_strategy=Strategy.SWITCH_OVER)

    written_meanwhile = 904 // 4
    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.TIMEOUT)
    assert report.downtime_ns == (1024 - 904 + written_meanwhile) * US
    assert report.verification.lost_pages == 0


@pytest.mark.parametrize(
    ("strategy", "status"),
    [
        (Strategy.CANCEL, MigrationStatus.CANCELLED),
        (Strategy.SWITCH_OVER, MigrationStatus.COMPLETED),
    ],
)
def test_after_the_last_allowed_pass_the_strategy_decides(
    strategy: Strategy, status: MigrationStatus
) -> None:
    report = migrated(source(), max_iterations=2, timeout_strategy=strategy)

    assert (report.status, report.reason) == (status, Reason.MAX_ITERATIONS)
    assert sent(report)[:2] == [4096, 1024]
    assert report.downtime_ns == (256 * US if status is MigrationStatus.COMPLETED else 0)


def test_a_migration_that_makes_no_progress_for_so_long_gives_up() -> None:
    """A guest that writes as fast as the link sends leaves as much after each pass."""
    report = migrated(
        source(writes_per_second=1_000_000, npages=1_000), stall_ns=5 * MS, max_iterations=1_000
    )

    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.STALLED)
    assert report.totals.total_ns == 1_000 * US + 5 * MS


def test_a_migration_that_makes_progress_does_not_stall() -> None:
    report = migrated(source(), stall_ns=2 * MS)

    assert report.status is MigrationStatus.COMPLETED


# Auto-converge


def converging(**fields: object) -> dict[str, object]:
    """Fields of a migration whose every pass takes more than a second."""
    return slow(downtime_limit_ns=0, link=LinkSpec(bytes_per_second=SLOW), **fields)


def test_auto_converge_throttles_every_second_look_that_is_too_dirty() -> None:
    report = migrated(
        source(writes_per_second=4_000),
        **converging(auto_converge=AutoConverge(max=35, periodic_sync=False), max_iterations=8),
    )

    throttled = [each.throttle_percent for each in report.iterations]
    assert throttled == [0, 0, 20, 20, 30, 30, 35, 35, 35]


def test_a_throttled_guest_writes_less_by_that_share() -> None:
    report = migrated(
        source(writes_per_second=4_000),
        **converging(auto_converge=AutoConverge(periodic_sync=False), max_iterations=3),
    )

    third = report.iterations[2]
    assert third.throttle_percent == 20
    assert third.throttled_ns == third.duration_ns // 5
    assert third.guest_writes == third.duration_ns * 4 * 80 // 100 // MS


def test_it_looks_no_oftener_than_every_second() -> None:
    report = migrated(
        source(writes_per_second=4_000_000), auto_converge=AutoConverge(), max_iterations=8
    )

    assert {each.throttle_percent for each in report.iterations} == {0}


def test_in_a_pass_of_more_than_ten_seconds_it_takes_the_log_in_between() -> None:
    """Ticks of 5 s: the first pass has none; at 20 s the second has had no sync since 15 s."""
    machine = source(writes_per_second=4_000, npages=12_000)

    plain = migrated(machine, **converging(max_iterations=2))
    ticking = migrated(
        source(writes_per_second=4_000, npages=12_000),
        **converging(auto_converge=AutoConverge(), max_iterations=3),
    )

    assert [each.started_ns for each in plain.iterations] == [0, 12 * S, 24 * S]
    assert [each.started_ns for each in ticking.iterations][:3] == [0, 12 * S, 20 * S]


def test_by_passes_it_throttles_from_the_pass_after_so_many_on() -> None:
    report = migrated(
        source(writes_per_second=4_000),
        **converging(auto_converge=AutoConverge(after_iterations=1), max_iterations=4),
    )

    assert [each.throttle_percent for each in report.iterations] == [0, 0, 20, 30, 40]


# The schedule


def test_an_action_of_the_schedule_comes_before_the_get_of_its_iteration() -> None:
    write = a.GuestWrite(pages=frames(4_000))

    report = migrated(source(), schedule=(Scheduled(iteration=1, action=write),))

    assert report.iterations[1].dirty_pages == 1025
    (done,) = report.scheduled
    assert (done.iteration, done.op, done.now_ns) == (1, "guest_write", 4096 * US)
    assert (done.reached, done.problem) == (True, None)


@pytest.mark.parametrize(
    ("phase", "point", "pages"),
    [
        (Phase.ACTIVE, Point.END, 0),
        (Phase.DEVICE, Point.BEGIN, 0),
        (Phase.DEVICE, Point.AFTER_LAST_GET, 1),
        (Phase.DEVICE, Point.END, 1),
    ],
)
def test_what_is_written_at_the_stop_is_lost_only_after_the_last_get(
    phase: Phase, point: Point, pages: int
) -> None:
    write = Scheduled(
        at=SchedulePoint(phase=phase, point=point), action=a.HostWrite(pages=frames(4_000))
    )

    report = migrated(source(), schedule=(write,))

    assert report.verification.verified
    assert report.verification.lost_pages == pages


def test_a_page_written_after_the_last_get_that_is_still_to_be_sent_is_not_lost() -> None:
    items = tuple(
        Scheduled(
            at=SchedulePoint(phase=Phase.DEVICE, point=point), action=a.HostWrite(pages=frames(9))
        )
        for point in (Point.BEGIN, Point.AFTER_LAST_GET)
    )

    report = migrated(source(), schedule=items)

    assert sent(report)[-1] == 1
    assert report.verification.lost_pages == 0


def test_a_cpu_unplugged_on_the_way_makes_its_calls_decline_and_loses_nothing() -> None:
    unplug = Scheduled(iteration=1, action=a.SetCpu(cpu=1, online=False))
    last = Scheduled(iteration=1, action=a.SetCpu(cpu=0, online=False))

    report = migrated(source(), schedule=(unplug, last))

    done, refused = report.scheduled
    assert done.problem is None
    assert refused.problem is not None
    assert refused.problem.errno == "EBUSY"
    assert report.status is MigrationStatus.COMPLETED
    assert report.verification.lost_pages == 0


def test_what_is_of_an_iteration_that_never_comes_is_listed_as_not_reached() -> None:
    unplug = Scheduled(iteration=20, action=a.SetCpu(cpu=1, online=False))
    machine = source()

    report = migrated(machine, schedule=(unplug,))

    (missed,) = report.scheduled
    assert (missed.reached, missed.op, missed.now_ns) == (False, "set_cpu", None)
    assert machine.query(a.GetCpu(cpu=1)).online


def test_a_command_of_the_schedule_that_cannot_be_is_noted_and_it_goes_on() -> None:
    wrong = Scheduled(iteration=1, set=ScheduledChange(command=a.MigrationCommand.RESUME))

    report = migrated(source(), schedule=(wrong,))

    (outcome,) = report.scheduled
    assert outcome.problem is not None
    assert outcome.problem.code == "invalid_migration_state"
    assert report.status is MigrationStatus.COMPLETED


# Slots


def test_all_slots_are_sent_and_those_that_logged_before_still_do() -> None:
    machine = source()
    machine.perform(slot(1, 100, flags=LOGS))

    report = migrated(machine)

    assert report.total_pages == NPAGES + 100
    assert sent(report)[0] == NPAGES + 100
    assert machine.memslot(0).flags == a.MemslotFlags.NONE
    assert machine.memslot(1).flags == a.MemslotFlags.LOG_DIRTY_PAGES
    assert [each.slot for each in report.verification.slots] == [0, 1]


def test_only_the_slots_that_are_named_are_sent() -> None:
    machine = source()
    machine.perform(slot(1, 100))

    report = migrated(machine, slots=(1,))

    assert sent(report) == [100, 0, 0]
    assert [each.slot for each in report.verification.slots] == [1]


def test_versions_that_were_followed_before_are_followed_afterwards() -> None:
    machine = source()
    machine.perform(a.TrackVersions(enabled=True))

    migrated(machine)

    assert machine.last_version is not None


def test_a_slot_whose_pages_are_far_apart_is_sent_in_order() -> None:
    machine = quiet(npages=1 << 20, flags=LOGS)
    machine.perform(a.GuestWrite(pages=frames(0)))
    machine.perform(a.GuestWrite(pages=frames((1 << 20) - 1)))

    report = migrated(machine, full_first_pass=False)

    assert sum(sent(report)) == 2
    assert report.verification.lost_pages == 0


# The guest


def test_a_guest_that_writes_too_much_for_one_run_runs_for_less_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = migrated(source()).totals
    monkeypatch.setattr(running, "WORK_PER_STEP", 4_000)

    report = migrated(source())

    assert report.totals == expected


def test_a_guest_that_writes_too_much_in_a_nanosecond_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guest, "MAX_WRITES_PER_RUN", 0)

    report = migrated(source())

    assert report.refused is not None
    assert report.refused.code == "too_many_writes"


# The link


@pytest.mark.parametrize("timing", list(a.Timing))
def test_a_link_that_breaks_ends_it_and_what_was_on_the_way_has_to_be_sent_again(
    timing: a.Timing,
) -> None:
    breaks = LinkEvent(type=LinkEventType.FAILURE, at_ns=2 * S)
    machine = source(writes_per_second=250)

    report = migrated(
        machine,
        **converging(timing=timing) | {"link": LinkSpec(bytes_per_second=SLOW, events=(breaks,))},
    )

    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.LINK_FAILED)
    assert report.totals.total_ns == 2 * S
    in_flight = 2_000 % 64
    assert report.remaining_pages == NPAGES - 2_000 + in_flight
    assert report.verification.verified
    assert report.verification.lost_pages == 0
    assert report.verification.current_pages == 2_000 - in_flight - 500


def test_a_link_that_breaks_at_a_pass_breaks_when_that_begins() -> None:
    breaks = LinkEvent(type=LinkEventType.FAILURE, iteration=2)

    report = migrated(source(), link=LinkSpec(bytes_per_second=FAST, events=(breaks,)))

    assert report.reason is Reason.LINK_FAILED
    assert sent(report) == [4096, 1024, 0]


@pytest.mark.parametrize("octets", [0, 1])
def test_a_link_that_broke_in_the_last_pass_carries_no_end_of_the_stream(octets: int) -> None:
    breaks = LinkEvent(type=LinkEventType.FAILURE, iteration=1)

    report = migrated(
        quiet(), link=LinkSpec(bytes_per_second=FAST, events=(breaks,)), device_state_bytes=octets
    )

    assert report.reason is Reason.LINK_FAILED


def test_a_link_that_is_down_in_the_last_pass_holds_up_the_end_of_the_stream() -> None:
    down = LinkEvent(type=LinkEventType.DOWN, iteration=1, duration_ns=S)

    report = migrated(quiet(), link=LinkSpec(bytes_per_second=FAST, events=(down,)))

    assert report.status is MigrationStatus.COMPLETED
    assert report.downtime_ns == S


def test_a_destination_that_dies_leaves_the_guest_at_the_source() -> None:
    dies = LinkEvent(type=LinkEventType.DESTINATION_DIES, at_ns=1)

    report = migrated(source(), link=LinkSpec(bytes_per_second=FAST, events=(dies,)))

    assert (report.status, report.reason) == (MigrationStatus.FAILED, Reason.DESTINATION_DIED)
    assert report.postcopy is None


# Reports


def test_a_report_while_it_runs_has_the_same_parts() -> None:
    migration = LiveMigration(source(), spec())
    until(migration, "active")

    report = migration.report()

    assert not report.verification.enabled
    assert report.iterations == ()
    assert report.downtime_ns == 0
    assert report.totals.total_ns == report.now_ns - report.started_ns
    assert migration.progress == (MigrationStatus.ACTIVE, 0, 1)
    assert migration.total_pages == NPAGES
    assert public_report(report).status is MigrationStatus.ACTIVE


def test_the_pause_is_in_the_report_while_it_lasts() -> None:
    migration = LiveMigration(source(), spec(stop_latency_ns=5 * MS))
    until(migration, "device")

    assert migration.report().downtime_ns == 5 * MS


def test_the_public_report_has_every_part_of_the_report() -> None:
    report = migrated(source())

    public = public_report(report)

    assert public.totals == report.totals
    assert public.qmp.ram is not None
    assert public.qmp.ram.dirty_sync_count == len(report.iterations)
    assert public.is_over


def test_the_first_reason_to_end_is_the_one_reported() -> None:
    migration = LiveMigration(source(), spec())
    until(migration, "active")

    migration.cancel(Reason.VM_DELETED)
    migration.cancel(Reason.SESSION_RESET)

    assert migration.run().reason is Reason.VM_DELETED


def test_a_migration_that_is_cancelled_before_its_first_step_has_done_nothing() -> None:
    machine = source()
    migration = LiveMigration(machine, spec())

    migration.cancel()
    report = migration.run()

    assert report.status is MigrationStatus.CANCELLED
    assert report.iterations == ()
    assert not report.verification.enabled


def test_slots_that_are_gone_at_the_end_are_left_alone() -> None:
    machine = source()
    migration = LiveMigration(machine, spec())
    until(migration, "active")
    machine.perform(a.DeleteMemslot(slot=0))

    migration.cancel()
    report = migration.run()

    assert report.verification.unproved_slots == (0,)
    assert machine.memslots() == ()


def test_pages_that_another_reader_took_are_sent() -> None:
    machine = source(manual=0)
    migration = LiveMigration(machine, spec())
    until(migration, "active")
    while migration.progress[1] < 2:
        migration.step()
    taken = machine.perform(a.GetDirtyLog(slot=0)).bitmap
    assert taken is not None

    migration.add_pending(0, taken.words)
    migration.add_pending(7, taken.words)
    report = migration.run()

    assert report.verification.verified
    assert report.verification.lost_pages == 0


def test_pages_that_another_reader_took_and_keeps_to_itself_are_lost() -> None:
    take = Scheduled(iteration=1, action=a.GetDirtyLog(slot=0))

    report = migrated(source(manual=0), schedule=(take,))

    assert report.verification.verified
    assert report.verification.lost_pages == 1024


def test_the_same_migration_has_the_same_report() -> None:
    assert migrated(source()) == migrated(source())


def test_a_migration_that_waits_for_a_command_that_nobody_sends_says_so() -> None:
    migration = LiveMigration(source(), spec(pause_before_switchover=True))

    with pytest.raises(InvalidMigrationStateError, match="pre-switchover"):
        migration.run()

    assert migration.is_waiting


def test_the_named_slots_are_in_the_spec_of_the_report() -> None:
    report = migrated(source())

    assert report.spec == replace(spec(), slots=(0,))


def test_pages_that_another_reader_took_before_the_first_step_are_counted_once() -> None:
    migration = LiveMigration(quiet(), spec())
    migration.add_pending(0, np.full(NPAGES // 64, 1, np.uint64))
    until(migration, "active")

    assert migration.report().remaining_pages == NPAGES
