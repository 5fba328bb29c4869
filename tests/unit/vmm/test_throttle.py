"""Auto-converge, iteration by iteration."""

from hacdbs_sim.model import AutoConverge
from hacdbs_sim.vmm.throttle import Throttle


def test_without_auto_converge_nothing_throttles() -> None:
    throttle = Throttle(None)

    assert [throttle.update(dirty_bytes=10, sent_bytes=1) for _ in range(4)] == [0, 0, 0, 0]


def test_every_second_iteration_that_is_too_dirty_throttles_up_to_the_most() -> None:
    throttle = Throttle(AutoConverge(initial=20, increment=30, max=60))

    found = [throttle.update(dirty_bytes=51, sent_bytes=100) for _ in range(8)]

    assert found == [0, 20, 20, 50, 50, 60, 60, 60]


def test_half_of_what_was_sent_is_not_too_dirty_and_does_not_count_back() -> None:
    throttle = Throttle(AutoConverge())

    throttle.update(dirty_bytes=51, sent_bytes=100)
    at_half = throttle.update(dirty_bytes=50, sent_bytes=100)
    after = throttle.update(dirty_bytes=51, sent_bytes=100)

    assert (at_half, after) == (0, 20)
