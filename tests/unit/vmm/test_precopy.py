"""A pre-copy, reckoned by hand: 4,096 pages at a microsecond each, a write every four."""

from dataclasses import replace

import numpy as np
import pytest

from hacdbs_sim import model as a
from hacdbs_sim.model import AutoConverge, ClearOrder, MigrationStatus, Reason, Scheduled
from hacdbs_sim.model import TimeoutStrategy as Strategy
from hacdbs_sim.sim.guest import guest
from hacdbs_sim.vmm import Precopy, Report
from tests.unit.vmm.source import LOGS, NPAGES, PAGE_US, US, frames, migrated, source, spec, until


def sent(report: Report) -> list[int]:
    return [each.sent_pages for each in report.iterations]


def test_each_pass_sends_what_was_written_during_the_one_before() -> None:
    report = migrated(source())

    assert sent(report) == [4096, 1024, 256, 64]
    assert [each.duration_ns for each in report.iterations] == [
        4096 * US,
        1024 * US,
        256 * US,
        64 * US,
    ]
    assert [each.dirty_pages for each in report.iterations] == [0, 1024, 256, 64]
    assert [each.remaining_pages for each in report.iterations] == [1024, 256, 64, 0]
    assert [each.phase for each in report.iterations] == ["active"] * 3 + ["device"]


def test_the_guest_is_paused_for_as_long_as_the_rest_takes() -> None:
    machine = source()

    report = migrated(machine)

    assert report.status is MigrationStatus.COMPLETED
    assert report.reason is Reason.CONVERGED
    assert report.downtime_ns == 64 * US
    assert report.totals.total_ns == (4096 + 1024 + 256 + 64) * US
    assert machine.clock().now_ns == report.now_ns
    assert machine.clock().guest_ns == report.totals.total_ns - report.downtime_ns


def test_the_link_is_used_to_the_fraction_of_a_nanosecond() -> None:
    report = migrated(
        source(writes_per_second=0), bandwidth_bytes_per_second=3 * PAGE_US, clear_chunk_pages=64
    )

    assert report.totals.total_ns == 4096 * US // 3


def test_the_dirty_rate_is_what_a_get_found_by_the_time_since_the_get_before() -> None:
    report = migrated(source())

    rates = [each.dirty_pages_per_second for each in report.iterations]
    assert rates == [0, 250_000, 250_000, 250_000]


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


@pytest.mark.parametrize("manual", [0, 1, 3])
def test_in_the_safe_order_nothing_is_lost(manual: int) -> None:
    report = migrated(source(manual=manual), clear_chunk_pages=64)

    assert report.verification.verified
    assert report.verification.lost_pages == 0


def test_cleared_after_the_copy_exactly_what_was_written_in_between_is_lost() -> None:
    report = migrated(source(), clear_order=ClearOrder.AFTER_COPY)

    (lost,) = report.verification.slots
    assert sent(report) == [4096, 0]
    assert (lost.lost_pages, lost.lost_ranges) == (1024, ((0, 1024),))


def test_pages_written_outside_the_chunk_being_copied_are_not_lost() -> None:
    report = migrated(source(), clear_order=ClearOrder.AFTER_COPY, clear_chunk_pages=2048)

    (lost,) = report.verification.slots
    assert lost.lost_ranges == ((0, 512),)


def test_without_page_versions_nothing_is_proved() -> None:
    machine = source()

    report = migrated(machine, clear_order=ClearOrder.AFTER_COPY, verify=False)

    assert not report.verification.enabled
    assert report.verification.slots == ()
    assert machine.last_version is None


def test_a_read_that_fails_after_clearing_ends_it_and_its_bits_are_lost() -> None:
    machine = source(manual=0)
    machine.perform(a.AddCopyToUser(after=1))

    report = migrated(machine)

    assert report.status is MigrationStatus.FAILED
    assert report.refused is not None
    assert (report.refused.code, report.refused.errno) == ("copy_to_user_failed", "EFAULT")
    assert report.verification.slots[0].lost_ranges == ((0, 1024),)


def test_a_copy_that_fails_with_manual_protect_ends_it_and_loses_nothing() -> None:
    machine = source(manual=1)
    machine.perform(a.AddCopyToUser(after=1))

    report = migrated(machine)

    assert report.status is MigrationStatus.FAILED
    assert report.verification.lost_pages == 0


@pytest.mark.parametrize("phase", ["none", "setup", "active", "pre-switchover", "device"])
def test_it_can_be_cancelled_in_every_phase_and_leaves_the_slot_as_it_was(phase: str) -> None:
    machine = source()
    precopy = Precopy(machine, spec())
    until(precopy, phase)

    precopy.cancel()
    more = precopy.step()
    report = precopy.report()

    assert not more
    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.CANCEL)
    assert machine.memslot(0).flags == a.MemslotFlags.NONE
    assert machine.last_version is None
    assert report.verification.lost_pages == 0


def test_an_ended_migration_does_not_change() -> None:
    precopy = Precopy(source(), spec())
    before = precopy.run()

    precopy.cancel()

    assert not precopy.step()
    assert precopy.report() == before


def test_a_pass_that_is_cut_short_reports_sent_and_remaining_pages() -> None:
    precopy = Precopy(source(), spec(clear_chunk_pages=1024))
    until(precopy, "active")
    for _ in range(2):
        precopy.step()

    precopy.cancel()
    precopy.step()

    (cut,) = precopy.report().iterations
    assert cut.sent_pages % 1024 == 0
    assert cut.remaining_pages >= NPAGES - cut.sent_pages > 0


def test_when_the_time_is_over_it_is_cancelled() -> None:
    report = migrated(source(), timeout_ns=5_000 * US, clear_chunk_pages=64)

    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.TIMEOUT)
    assert sent(report) == [4096, 960]
    assert report.totals.total_ns == (4096 + 960) * US
    assert report.verification.lost_pages == 0


def test_when_the_time_is_over_it_may_switch_over_whatever_the_rest_takes() -> None:
    report = migrated(
        source(),
        timeout_ns=5_000 * US,
        clear_chunk_pages=64,
        timeout_strategy=Strategy.SWITCH_OVER,
    )

    written_meanwhile = 960 // 4
    assert (report.status, report.reason) == (MigrationStatus.COMPLETED, Reason.TIMEOUT)
    assert report.downtime_ns == (1024 - 960 + written_meanwhile) * US
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
    report = migrated(source(), max_iterations=2, timeout_strategy=strategy, downtime_limit_ns=0)

    assert (report.status, report.reason) == (status, Reason.MAX_ITERATIONS)
    assert sent(report)[:2] == [4096, 1024]
    assert report.downtime_ns == (256 * US if status is MigrationStatus.COMPLETED else 0)


def test_auto_converge_throttles_every_second_pass_that_is_too_dirty() -> None:
    report = migrated(
        source(writes_per_second=4_000_000),
        auto_converge=AutoConverge(max=35),
        max_iterations=8,
    )

    throttled = [each.throttle_percent for each in report.iterations]
    assert throttled == [0, 0, 20, 20, 30, 30, 35, 35, 35]


def test_a_throttled_guest_writes_less_by_that_share() -> None:
    report = migrated(
        source(writes_per_second=4_000_000), auto_converge=AutoConverge(), max_iterations=3
    )

    third = report.iterations[2]
    assert third.throttle_percent == 20
    assert third.throttled_ns == third.duration_ns // 5
    assert third.guest_writes == third.duration_ns * 4 * 80 // 100 // US


def test_an_action_of_the_schedule_comes_before_the_get_of_its_iteration() -> None:
    write = a.GuestWrite(pages=frames(0x40000 + 4000, 1))

    report = migrated(source(), schedule=(Scheduled(iteration=1, action=write),))

    assert report.iterations[1].dirty_pages == 1025
    (done,) = report.scheduled
    assert (done.iteration, done.op, done.now_ns) == (1, "guest_write", 4096 * US)
    assert done.problem is None


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


def test_actions_of_an_iteration_that_never_comes_are_not_performed() -> None:
    unplug = Scheduled(iteration=20, action=a.SetCpu(cpu=1, online=False))

    report = migrated(source(), schedule=(unplug,))

    assert report.scheduled == ()


def test_all_slots_are_sent_and_those_that_logged_before_still_do() -> None:
    machine = source()
    machine.perform(
        a.SetMemslot(slot=1, guest_phys_addr=0x8000_0000, memory_size=100 * 4096, flags=LOGS)
    )

    report = migrated(machine)

    assert report.total_pages == NPAGES + 100
    assert sent(report)[0] == NPAGES + 100
    assert machine.memslot(0).flags == a.MemslotFlags.NONE
    assert machine.memslot(1).flags == a.MemslotFlags.LOG_DIRTY_PAGES
    assert [each.slot for each in report.verification.slots] == [0, 1]


def test_only_the_slots_that_are_named_are_sent() -> None:
    machine = source()
    machine.perform(a.SetMemslot(slot=1, guest_phys_addr=0x8000_0000, memory_size=100 * 4096))

    report = migrated(machine, slots=(1,))

    assert sent(report) == [100, 0]
    assert [each.slot for each in report.verification.slots] == [1]


def test_without_a_full_first_pass_only_dirty_pages_are_sent() -> None:
    machine = source(flags=LOGS, writes_per_second=0)
    machine.perform(a.GuestWrite(pages=frames(0x40000, 10)))

    report = migrated(machine, full_first_pass=False)

    assert sent(report) == [10, 0]
    assert report.verification.lost_pages == 0


def test_versions_that_were_followed_before_are_followed_afterwards() -> None:
    machine = source()
    machine.perform(a.TrackVersions(enabled=True))

    migrated(machine)

    assert machine.last_version is not None


def test_a_slot_that_goes_on_the_way_ends_it() -> None:
    delete = Scheduled(iteration=1, action=a.DeleteMemslot(slot=0))

    report = migrated(source(), schedule=(delete,))

    assert report.status is MigrationStatus.FAILED
    assert report.refused is not None
    assert report.refused.code == "no_dirty_log"
    assert not report.verification.verified


def test_a_slot_that_comes_back_with_another_size_ends_it() -> None:
    delete = Scheduled(iteration=1, action=a.DeleteMemslot(slot=0))
    smaller = Scheduled(
        iteration=1,
        action=a.SetMemslot(slot=0, guest_phys_addr=0, memory_size=64 * 4096, flags=LOGS),
    )

    report = migrated(source(), schedule=(delete, smaller))

    assert report.refused is not None
    assert report.refused.code == "slot_changed"
    assert not report.verification.verified


def test_versions_that_end_on_the_way_end_it() -> None:
    machine = source()
    precopy = Precopy(machine, spec())
    until(precopy, "active")

    machine.perform(a.TrackVersions(enabled=False))
    report = precopy.run()

    assert report.refused is not None
    assert report.refused.code == "slot_changed"
    assert not report.verification.verified


def test_a_guest_that_writes_too_much_for_one_run_runs_for_less_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = migrated(source()).totals
    monkeypatch.setattr(guest, "MAX_WRITES_PER_RUN", 100)

    report = migrated(source())

    assert report.totals == expected


def test_a_report_while_it_runs_has_the_same_parts() -> None:
    precopy = Precopy(source(), spec())
    until(precopy, "pre-switchover")

    report = precopy.report()

    assert report.downtime_ns == 0
    assert report.expected_downtime_ns == 64 * US
    assert report.remaining_pages == 64
    assert sent(report) == [4096, 1024, 256]
    assert not report.verification.enabled


def test_the_same_machine_and_spec_have_the_same_report() -> None:
    def run() -> Report:
        return migrated(source(costs=a.CostModel(), manual=3), auto_converge=AutoConverge())

    assert run() == run()


def test_a_guest_that_writes_too_much_even_so_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest, "MAX_WRITES_PER_RUN", 0)

    report = migrated(source(writes_per_second=1_000_000_000), verify=False)

    assert report.refused is not None
    assert report.refused.code == "too_many_writes"


def test_the_first_reason_to_end_is_the_one_reported() -> None:
    precopy = Precopy(source(), spec())
    until(precopy, "active")

    precopy.cancel(Reason.VM_DELETED)
    precopy.cancel(Reason.SESSION_RESET)

    assert precopy.run().reason is Reason.VM_DELETED


def test_logging_that_is_switched_off_and_on_loses_what_was_dirty_and_the_list_is_bounded() -> None:
    machine = source(writes_per_second=0)
    regions = [
        a.SetMemslot(slot=n, guest_phys_addr=(1 << 32) + (n << 22), memory_size=512 * 4096)
        for n in range(1, 301)
    ]
    for region in regions:
        machine.perform(region)
    first_gfns = [region.guest_phys_addr // 4096 for region in regions]
    every_other = np.add.outer(
        np.array(first_gfns, np.uint64), np.arange(0, 512, 2, dtype=np.uint64)
    )
    write = a.GuestWrite(pages=a.Gfns(every_other.ravel()))
    schedule = [Scheduled(iteration=1, action=write)]
    for region in regions:
        schedule += [
            Scheduled(iteration=1, action=replace(region, flags=flags)) for flags in (0, LOGS)
        ]

    report = migrated(machine, schedule=tuple(schedule))

    listed = report.verification.slots
    assert report.verification.lost_pages == 300 * 256
    assert [each.slot for each in listed] == list(range(1, 257))
    assert {each.lost_pages for each in listed} == {256}
    assert sum(len(each.lost_ranges) for each in listed) == 4_096
    assert sum(each.ranges_omitted for each in listed) == 256 * 256 - 4_096
