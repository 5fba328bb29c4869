"""The stream reckoned by hand: windows, flushes, the threshold, and what it does not run past.

Over the slow link a window of 100 ms and its wake-up send four flushes, 128 pages; 127 pages may remain
once the first has ended.
"""

from typing import Any

import numpy as np
import pytest

from hacdbs_sim import model as a
from hacdbs_sim.model import LinkEvent, LinkEventType, LinkSpec, MigrationStatus, Reason, Timing
from hacdbs_sim.vmm import LiveMigration, Report
from hacdbs_sim.vmm.stream import WAKE_UP_NS, WINDOW_NS, last_bits
from tests.support.machine import Machine
from tests.unit.vmm.source import (
    LOGS,
    MS,
    NPAGES,
    PAGE_BYTES,
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
)

WINDOW = WINDOW_NS + WAKE_UP_NS
TEN_GBIT = 1_250_000_000
LINE = SLOW
"""A link that takes a millisecond for a page."""

both = pytest.mark.parametrize("timing", list(Timing))


def over_line(**fields: Any) -> dict[str, Any]:
    """Fields of a migration that only its link limits, at a millisecond a page."""
    return {
        "bandwidth_bytes_per_second": 10**9,
        "downtime_limit_ns": 0,
        "link": LinkSpec(bytes_per_second=LINE),
        **fields,
    }


@both
def test_each_window_sends_the_flushes_that_exceed_a_tenth_of_the_bandwidth(
    timing: Timing,
) -> None:
    """32 windows for 4,096 pages; 806 were written in 3.224 s, of which 6 windows leave 38."""
    report = migrated(source(writes_per_second=250), **slow(timing=timing))

    assert sent(report) == [4096, 768, 128, 0, 86]
    assert [each.duration_ns for each in report.iterations] == [
        32 * WINDOW,
        6 * WINDOW,
        WINDOW,
        0,
        86 * PAGE_BYTES * S // TEN_GBIT,
    ]
    assert [each.dirty_pages for each in report.iterations] == [0, 806, 151, 25, 0]


def test_it_looks_only_at_the_beginning_of_a_chunk_and_takes_the_log_where_little_is_left() -> None:
    report = migrated(source(writes_per_second=250), **slow())

    left = [each.remaining_pages for each in report.iterations]
    assert left == [806, 806 - 768 + 151, 189 - 128 + 25, 86, 0]


def test_before_the_first_window_has_ended_nothing_may_remain() -> None:
    report = migrated(source())

    assert sent(report) == [4096, 1024, 256, 64, 16, 4, 1, 0, 0]
    assert report.totals.total_ns == sum(4096 * US // 4**n for n in range(7))
    assert report.downtime_ns == 0


@both
def test_the_switch_over_has_no_limit_but_the_link(timing: Timing) -> None:
    report = migrated(
        source(writes_per_second=250),
        **slow(timing=timing, link=LinkSpec(bytes_per_second=10 * SLOW)),
    )

    last = report.iterations[-1]
    assert last.phase == "device"
    assert last.duration_ns == last.sent_pages * MS // 10
    assert report.downtime_ns == last.duration_ns


@both
def test_a_link_slower_than_the_limit_is_what_limits(timing: Timing) -> None:
    report = migrated(source(writes_per_second=250), **over_line(timing=timing))

    assert sent(report)[:3] == [4096, 1024, 256]
    assert [each.duration_ns for each in report.iterations][:3] == [4096 * MS, 1024 * MS, 256 * MS]


@both
def test_the_link_is_used_to_the_fraction_of_a_nanosecond(timing: Timing) -> None:
    speed = 3 * 10**9
    report = migrated(
        quiet(),
        bandwidth_bytes_per_second=speed,
        link=LinkSpec(bytes_per_second=speed),
        timing=timing,
    )

    assert report.totals.total_ns == NPAGES * PAGE_BYTES * S // speed


@both
@pytest.mark.parametrize("timeout_ns", [2 * S, 2 * S + 1, 2 * S + 333_333])
def test_a_timeout_on_a_slow_link_ends_it_at_exactly_that_time(
    timeout_ns: int, timing: Timing
) -> None:
    report = migrated(
        source(writes_per_second=250), **over_line(timing=timing, timeout_ns=timeout_ns)
    )

    assert (report.status, report.reason) == (MigrationStatus.CANCELLED, Reason.TIMEOUT)
    assert report.totals.total_ns == timeout_ns
    assert sent(report) == [2_000]
    assert report.verification.lost_pages == 0


@both
def test_a_timeout_in_the_sleep_of_a_window_ends_it_at_exactly_that_time(timing: Timing) -> None:
    report = migrated(source(writes_per_second=250), **slow(timing=timing, timeout_ns=2 * S))

    assert report.totals.total_ns == 2 * S
    assert sent(report) == [(2 * S // WINDOW + 1) * 128]


@both
def test_an_item_with_a_time_happens_at_exactly_that_time_and_costs_the_stream_nothing(
    timing: Timing,
) -> None:
    items = tuple(
        a.Scheduled(at=a.SchedulePoint(ns=ns), action=a.DeleteFaults())
        for ns in (100_100_300, 100_200_700, 2 * S + 7)
    )

    report = migrated(quiet(), **over_line(timing=timing, schedule=items))

    assert [each.now_ns for each in report.scheduled] == [100_100_300, 100_200_700, 2 * S + 7]
    assert report.totals.total_ns == NPAGES * MS


def test_a_step_is_a_small_part_of_a_long_pass_and_the_whole_takes_the_same_time() -> None:
    machine = quiet(npages=1 << 17)
    migration = LiveMigration(machine, a.MigrationSpec(**over_line()))
    steps = [0]
    while migration.step():
        steps.append(migration.now_ns)

    assert max(np.diff(steps)) <= (1 << 17) * MS // 100
    assert migration.now_ns == (1 << 17) * MS


@both
def test_a_link_that_is_down_carries_nothing_and_fails_nothing(timing: Timing) -> None:
    down = LinkEvent(type=LinkEventType.DOWN, at_ns=S, duration_ns=3 * S)

    report = migrated(
        quiet(),
        **over_line(timing=timing, link=LinkSpec(bytes_per_second=LINE, events=(down,))),
    )

    assert report.status is MigrationStatus.COMPLETED
    assert report.totals.total_ns == NPAGES * MS + 3 * S


def test_a_timeout_while_the_link_is_down_ends_it_at_exactly_that_time() -> None:
    down = LinkEvent(type=LinkEventType.DOWN, at_ns=S, duration_ns=3 * S)

    report = migrated(
        quiet(),
        **over_line(timeout_ns=2 * S, link=LinkSpec(bytes_per_second=LINE, events=(down,))),
    )

    assert report.totals.total_ns == 2 * S


@both
def test_a_link_of_another_speed_is_slower_from_that_moment(timing: Timing) -> None:
    half = LinkEvent(type=LinkEventType.RATE, at_ns=S + MS // 2, bytes_per_second=LINE // 2)

    report = migrated(
        quiet(),
        **over_line(timing=timing, link=LinkSpec(bytes_per_second=LINE, events=(half,))),
    )

    first_ns = S + MS // 2
    assert report.totals.total_ns == first_ns + (NPAGES * MS - first_ns) * 2


def at_the_stop(*events: LinkEvent, **fields: Any) -> Report:
    """Migrate 1,024 pages in 8 windows, of which 10 are written again at the stop."""
    write = a.Scheduled(
        at=a.SchedulePoint(phase=a.Phase.DEVICE), action=a.GuestWrite(pages=frames(0, 10))
    )
    link = LinkSpec(bytes_per_second=10 * SLOW, events=events)
    report = migrated(quiet(npages=1_024), **slow(link=link, schedule=(write,), **fields))
    assert sent(report)[-1] == 10
    return report


STOP_NS = 8 * WINDOW


def test_a_link_that_is_down_at_the_stop_lengthens_the_pause() -> None:
    down = LinkEvent(type=LinkEventType.DOWN, at_ns=STOP_NS - MS, duration_ns=S)

    report = at_the_stop(down)

    assert report.downtime_ns == S - MS + 10 * MS // 10


def test_a_link_that_slows_down_in_the_pause_lengthens_it_from_that_moment() -> None:
    """Half a page goes at the old speed; a tenth of it takes ten times as long."""
    slows = LinkEvent(type=LinkEventType.RATE, at_ns=STOP_NS + MS // 20, bytes_per_second=SLOW)

    report = at_the_stop(slows)

    assert report.downtime_ns == MS // 20 + 9 * MS + MS // 2


def test_the_state_of_devices_waits_for_the_link_and_goes_at_its_speeds() -> None:
    """It begins after 1 ms of pages; 2 ms at the old speed, 10 ms of nothing, the rest at a tenth."""
    events = (
        LinkEvent(type=LinkEventType.DOWN, at_ns=STOP_NS + 3 * MS, duration_ns=10 * MS),
        LinkEvent(type=LinkEventType.RATE, at_ns=STOP_NS + 13 * MS, bytes_per_second=SLOW),
    )
    octets = 30 * PAGE_BYTES

    report = at_the_stop(*events, device_state_bytes=octets)

    assert report.downtime_ns == (1 + 2 + 10 + 10) * MS


def test_the_measured_bandwidth_can_be_replaced_in_the_decision() -> None:
    """With a tenth of it 13 pages may remain, so one pass more is needed."""
    report = migrated(
        source(writes_per_second=250),
        **slow(switchover_bandwidth_bytes_per_second=4_096 * 120),
    )

    assert report.iterations[-1].dirty_pages + report.iterations[-2].remaining_pages < 12


@both
def test_a_page_never_written_is_nine_bytes_and_needs_a_look(timing: Timing) -> None:
    machine = quiet()
    machine.perform(a.HostWrite(pages=frames(0, 96)))
    machine2 = quiet()

    tracked = migrated(machine2, zero_pages=True, timing=timing)
    unknown = migrated(machine, zero_pages=True, timing=timing)

    assert (tracked.stats.duplicate, tracked.stats.normal) == (NPAGES, 0)
    assert tracked.stats.precopy == NPAGES * 9
    assert tracked.totals.total_ns >= NPAGES * 250
    assert tracked.totals.zero_pages == NPAGES
    assert tracked.totals.sent_bytes == 0
    assert (unknown.stats.duplicate, unknown.stats.normal) == (0, NPAGES)
    assert tracked.verification.lost_pages == unknown.verification.lost_pages == 0


def test_of_pages_that_are_known_those_written_are_sent_whole() -> None:
    machine = quiet()
    machine.perform(a.TrackVersions(enabled=True))
    machine.perform(a.HostWrite(pages=frames(0, 96)))

    report = migrated(machine, zero_pages=True)

    assert (report.stats.duplicate, report.stats.normal) == (NPAGES - 96, 96)
    assert report.stats.precopy == 96 * PAGE_BYTES + (NPAGES - 96) * 9


@pytest.mark.parametrize("give_up", [a.HintFree, a.HostDiscard])
def test_pages_that_the_guest_gave_up_are_not_sent_until_they_are_written(
    give_up: type[a.HintFree | a.HostDiscard],
) -> None:
    machine = quiet()
    machine.perform(give_up(pages=frames(100, 50)))
    machine.perform(a.GuestWrite(pages=frames(100, 10)))

    report = migrated(machine)

    assert sent(report)[0] == NPAGES - 40
    assert report.iterations[0].skipped_pages == 40
    assert report.verification.unneeded_pages == 40
    assert report.verification.lost_pages == 0


def test_pages_of_the_guest_are_several_of_the_stream_where_they_are_larger() -> None:
    machine = Machine(a.VmConfig(page_size=65_536))
    machine.perform(a.SetMemslot(slot=0, guest_phys_addr=0, memory_size=64 * 65_536))

    report = migrated(machine)

    assert report.totals.sent_pages == 64
    assert report.stats.normal == 64 * 16
    assert report.stats.precopy == 64 * 16 * PAGE_BYTES


def test_the_state_of_devices_is_sent_in_the_pause_and_takes_its_time() -> None:
    report = migrated(
        quiet(npages=1),
        link=LinkSpec(bytes_per_second=10**7, latency_ns=3_000),
        device_state_bytes=10**6,
        device_state_ns=7 * MS,
        stop_latency_ns=2 * MS,
    )

    assert report.downtime_ns == 100 * MS + 7 * MS + 2 * MS + 3_000


def test_the_figures_of_the_last_window_are_measured() -> None:
    report = migrated(source(writes_per_second=250), **slow())

    stats = report.stats
    octets = 128 * PAGE_BYTES + 18
    assert stats.mbps == round(octets * 8_000 / WINDOW, 3)
    assert stats.pages_per_second == 128 * S // WINDOW
    assert stats.dirty_pages_rate == 250
    assert stats.syncs == 5
    assert stats.remaining_at_sync == 86 * 4_096


def test_windows_are_cut_where_a_thing_happens_and_many_go_in_one_step() -> None:
    def steps(**fields: Any) -> int:
        machine = quiet(npages=1 << 17)
        migration = LiveMigration(machine, a.MigrationSpec(**slow(**fields)))
        count = 0
        while migration.step():
            count += 1
        return count

    event = LinkEvent(type=LinkEventType.RATE, at_ns=2 * S, bytes_per_second=TEN_GBIT)

    jumping = steps()
    assert 3 * jumping < steps(timing=Timing.EXACT)
    assert jumping < steps(link=LinkSpec(bytes_per_second=TEN_GBIT, events=(event,))) < jumping + 20


def test_the_highest_bits_of_words_are_the_last_flush() -> None:
    words = np.array([0b1011, 0, 1 << 63], np.uint64)

    assert last_bits(words, 2).tolist() == [0b1000, 0, 1 << 63]
    assert last_bits(words, 99).tolist() == words.tolist()


@both
def test_both_timings_prove_the_same(timing: Timing) -> None:
    machine = source(writes_per_second=1_000)
    machine.perform(slot(1, 100, flags=LOGS))

    report = migrated(machine, **slow(timing=timing, max_iterations=4))

    assert report.verification.verified
    assert report.verification.lost_pages == 0


def test_a_window_of_more_flushes_than_time_is_no_longer_than_it_takes() -> None:
    """The limit is the link's speed: four flushes take 128 ms, and it does not sleep."""
    report: Report = migrated(
        quiet(), **slow(link=LinkSpec(bytes_per_second=SLOW), downtime_limit_ns=0)
    )

    assert report.totals.total_ns == NPAGES * MS


def test_a_thing_that_happens_while_a_call_costs_time_happens_right_after_it() -> None:
    """The get of the first pass costs more than the nanosecond that is left."""
    machine = quiet(flags=LOGS, costs=a.CostModel())
    item = a.Scheduled(at=a.SchedulePoint(ns=1), action=a.DeleteFaults())

    report = migrated(machine, schedule=(item,))

    assert report.scheduled[0].now_ns == report.iterations[0].get_ns > 1


def test_without_a_proof_a_link_that_breaks_leaves_the_same_pages_to_send() -> None:
    breaks = LinkEvent(type=LinkEventType.FAILURE, at_ns=2 * S)
    link = LinkSpec(bytes_per_second=LINE, events=(breaks,))

    proved = migrated(quiet(), **over_line(link=link))
    unproved = migrated(quiet(), **over_line(link=link, verify=False))

    assert proved.remaining_pages == unproved.remaining_pages == NPAGES - 2_000 + 2_000 % 64


@pytest.mark.parametrize("writes_per_second", [1_600, 6_400])
@pytest.mark.parametrize("clear_chunk_pages", [512, 262_144])
def test_both_timings_agree_within_two_percent(
    writes_per_second: int, clear_chunk_pages: int
) -> None:
    def starts(timing: Timing) -> list[int]:
        machine = quiet(npages=32_768, manual=3)
        machine.perform(a.AddUniform(slot=0, writes_per_second=writes_per_second))
        report = migrated(
            machine,
            bandwidth_bytes_per_second=33_554_432,
            clear_chunk_pages=clear_chunk_pages,
            downtime_limit_ns=100 * MS,
            timing=timing,
        )
        return [each.started_ns for each in report.iterations]

    windows, exact = (starts(timing) for timing in Timing)

    assert abs(len(windows) - len(exact)) <= 1
    for ours, theirs in zip(windows[1:-1], exact[1:-1], strict=False):
        assert ours == pytest.approx(theirs, rel=0.02)
