"""Auto-converge, look by look."""

from hacdbs_sim.model import AutoConverge
from hacdbs_sim.vmm.throttle import Throttle


def percents(throttle: Throttle, looks: int, *, dirty_bytes: int, sent_bytes: int) -> list[int]:
    found = []
    for _ in range(looks):
        throttle.look(dirty_bytes=dirty_bytes, sent_bytes=sent_bytes)
        found.append(throttle.percent)
    return found


def test_without_auto_converge_nothing_throttles() -> None:
    throttle = Throttle(None)

    throttle.begin_pass(7)

    assert percents(throttle, 4, dirty_bytes=10, sent_bytes=1) == [0, 0, 0, 0]


def test_every_second_look_that_is_too_dirty_throttles_up_to_the_most() -> None:
    throttle = Throttle(AutoConverge(initial=20, increment=30, max=60))

    found = percents(throttle, 8, dirty_bytes=51, sent_bytes=100)

    assert found == [0, 20, 20, 50, 50, 60, 60, 60]


def test_half_of_what_was_sent_is_not_too_dirty_and_does_not_count_back() -> None:
    throttle = Throttle(AutoConverge())

    throttle.look(dirty_bytes=51, sent_bytes=100)
    throttle.look(dirty_bytes=50, sent_bytes=100)
    at_half = throttle.percent
    throttle.look(dirty_bytes=51, sent_bytes=100)

    assert (at_half, throttle.percent) == (0, 20)


def test_the_threshold_is_a_setting() -> None:
    throttle = Throttle(AutoConverge(trigger_threshold=80))

    below = percents(throttle, 2, dirty_bytes=80, sent_bytes=100)
    above = percents(throttle, 2, dirty_bytes=81, sent_bytes=100)

    assert (below, above) == ([0, 0], [0, 20])


def test_tailslow_takes_no_more_than_what_brings_the_rate_down_to_the_threshold() -> None:
    """80 % run and dirty 60 where 50 are allowed: 80 * 50 / 60 is 66, so 14 are taken and not 30."""
    throttle = Throttle(AutoConverge(initial=20, increment=30, tailslow=True))

    first = percents(throttle, 2, dirty_bytes=60, sent_bytes=100)
    further = percents(throttle, 2, dirty_bytes=60, sent_bytes=100)

    assert (first, further) == ([0, 20], [20, 34])


def test_tailslow_takes_the_increment_where_that_is_less() -> None:
    throttle = Throttle(AutoConverge(initial=20, increment=5, tailslow=True))

    assert percents(throttle, 4, dirty_bytes=200, sent_bytes=100) == [0, 20, 20, 25]


def test_by_passes_it_throttles_at_the_beginning_of_each_after_so_many() -> None:
    throttle = Throttle(AutoConverge(after_iterations=2, max=45))

    looks = percents(throttle, 4, dirty_bytes=200, sent_bytes=100)
    found = []
    for number in range(1, 7):
        throttle.begin_pass(number)
        found.append(throttle.percent)

    assert looks == [0, 0, 0, 0]
    assert found == [0, 0, 20, 30, 40, 45]


def test_by_looks_a_pass_that_begins_throttles_nothing() -> None:
    throttle = Throttle(AutoConverge())

    throttle.begin_pass(9)

    assert throttle.percent == 0
