"""The link: its speed over time, and how it breaks."""

import pytest

from hacdbs_sim.model import LinkEvent, LinkEventType, LinkSpec
from hacdbs_sim.model.migrations import DEFAULT_BANDWIDTH
from hacdbs_sim.vmm.errors import DestinationDiedError, LinkFailedError
from hacdbs_sim.vmm.link import Link, transmission

STARTED = 1_000
SPEED = 10_000_000


def a_link(*events: LinkEvent) -> Link:
    return Link(LinkSpec(bytes_per_second=SPEED, events=events), 1, STARTED)


def down(at_ns: int, duration_ns: int) -> LinkEvent:
    return LinkEvent(type=LinkEventType.DOWN, at_ns=at_ns, duration_ns=duration_ns)


def rate(at_ns: int, speed: int, duration_ns: int | None = None) -> LinkEvent:
    return LinkEvent(
        type=LinkEventType.RATE, at_ns=at_ns, bytes_per_second=speed, duration_ns=duration_ns
    )


@pytest.mark.parametrize(
    ("bandwidth", "speed"),
    [(1, DEFAULT_BANDWIDTH), (DEFAULT_BANDWIDTH + 1, DEFAULT_BANDWIDTH + 1)],
)
def test_without_a_spec_it_is_10_gbit_and_no_less_than_the_bandwidth(
    bandwidth: int, speed: int
) -> None:
    link = Link(None, bandwidth, STARTED)

    assert (link.rate(STARTED), link.latency_ns, link.next_change_ns()) == (speed, 0, None)


def test_it_carries_nothing_while_it_is_down() -> None:
    link = a_link(down(100, 50))

    rates = [link.rate(STARTED + ns) for ns in (99, 100, 149, 150)]

    assert rates == [SPEED, 0, 0, SPEED]


def test_a_speed_holds_to_its_end_or_to_the_end() -> None:
    link = a_link(rate(10, 2_000_000), rate(20, 3_000_000, 10))

    rates = [link.rate(STARTED + ns) for ns in (0, 10, 20, 29, 30, 10**9)]

    assert rates == [SPEED, 2_000_000, 3_000_000, 3_000_000, 2_000_000, 2_000_000]


def test_it_says_when_it_changes_next() -> None:
    link = a_link(rate(20, 3_000_000, 10), down(22, 3))

    nexts = []
    for ns in (0, 20, 22, 25, 30):
        link.rate(STARTED + ns)
        nexts.append(link.next_change_ns())

    assert nexts == [STARTED + 20, STARTED + 22, STARTED + 25, STARTED + 30, None]


def test_events_happen_in_the_order_of_their_times() -> None:
    link = a_link(rate(20, 3_000_000), rate(10, 2_000_000))

    assert link.rate(STARTED + 25) == 3_000_000


def test_an_event_of_a_pass_happens_when_that_pass_begins() -> None:
    link = a_link(LinkEvent(type=LinkEventType.RATE, iteration=2, bytes_per_second=2_000_000))

    link.begin_pass(1, STARTED + 5)
    before = link.rate(STARTED + 5)
    link.begin_pass(2, STARTED + 9)

    assert (before, link.rate(STARTED + 9)) == (SPEED, 2_000_000)


@pytest.mark.parametrize(("duration_ns", "recovers_ns"), [(None, None), (50, STARTED + 150)])
def test_a_failure_breaks_it_and_says_when_it_recovers(
    duration_ns: int | None, recovers_ns: int | None
) -> None:
    link = a_link(LinkEvent(type=LinkEventType.FAILURE, at_ns=100, duration_ns=duration_ns))

    with pytest.raises(LinkFailedError):
        link.rate(STARTED + 120)

    assert link.recovers_ns == recovers_ns


def test_the_destination_may_die() -> None:
    link = a_link(LinkEvent(type=LinkEventType.DESTINATION_DIES, at_ns=100))

    assert link.rate(STARTED + 99) == SPEED
    with pytest.raises(DestinationDiedError):
        link.rate(STARTED + 100)


def test_a_transmission_is_exact_and_carries_the_rest_on() -> None:
    took = [0, 0]
    carried = 0
    for index in range(2):
        took[index], carried = transmission(1, 3, carried)

    assert took == [333_333_333, 333_333_333]
    assert transmission(1, 3, carried) == (333_333_334, 0)


def test_what_was_carried_before_takes_no_time_again() -> None:
    assert transmission(10, 10, -5_000_000_000) == (500_000_000, 0)
    assert transmission(1, 10, -5_000_000_000) == (0, -4_000_000_000)
