"""What happens when, and what became of it."""

from collections.abc import Iterator

from hacdbs_sim.model import (
    DeleteFaults,
    Phase,
    Point,
    Refused,
    Scheduled,
    ScheduledChange,
    SchedulePoint,
)
from hacdbs_sim.vmm.schedule import Schedule

OF_PASS = Scheduled(iteration=2, action=DeleteFaults())
AT_PASS = Scheduled(at=SchedulePoint(iteration=2), set=ScheduledChange(max_iterations=3))
AT_STOP = Scheduled(at=SchedulePoint(phase=Phase.DEVICE), action=DeleteFaults())
AFTER = Scheduled(
    at=SchedulePoint(phase=Phase.DEVICE, point=Point.AFTER_LAST_GET), action=DeleteFaults()
)
EARLY = Scheduled(at=SchedulePoint(ns=10), action=DeleteFaults())
LATE = Scheduled(at=SchedulePoint(ns=20), action=DeleteFaults())


def taken(items: Iterator[tuple[int, Scheduled]]) -> list[int]:
    return [index for index, _ in items]


def test_what_is_of_a_pass_happens_once_and_in_order() -> None:
    schedule = Schedule([OF_PASS, AT_STOP, AT_PASS])

    assert taken(schedule.of_iteration(1)) == []
    assert taken(schedule.of_iteration(2)) == [0, 2]
    assert taken(schedule.of_iteration(2)) == []


def test_what_is_of_a_phase_happens_at_its_point() -> None:
    schedule = Schedule([AT_STOP, AFTER])

    assert taken(schedule.of_phase(Phase.ACTIVE, Point.BEGIN)) == []
    assert taken(schedule.of_phase(Phase.DEVICE, Point.BEGIN)) == [0]
    assert taken(schedule.of_phase(Phase.DEVICE, Point.AFTER_LAST_GET)) == [1]


def test_what_has_a_time_happens_when_that_is_over() -> None:
    schedule = Schedule([LATE, EARLY])

    assert schedule.next_ns() == 10
    assert taken(schedule.due(9)) == []
    assert taken(schedule.due(10)) == [1]
    assert schedule.next_ns() == 20
    assert taken(schedule.due(99)) == [0]
    assert schedule.next_ns() is None


def test_at_the_end_what_was_never_reached_is_listed_as_such() -> None:
    schedule = Schedule([OF_PASS, EARLY, AT_PASS])
    refused = Refused(code="c", errno=None, detail="d")
    list(schedule.due(10))
    schedule.record(1, 4, 12, refused)

    running, over = schedule.outcomes(is_over=False), schedule.outcomes(is_over=True)

    assert [each.index for each in running] == [1]
    assert [(each.index, each.reached, each.op) for each in over] == [
        (0, False, "delete_faults"),
        (1, True, "delete_faults"),
        (2, False, "set"),
    ]
    done = over[1]
    assert (done.iteration, done.now_ns, done.problem) == (4, 12, refused)
    assert (over[0].iteration, over[0].now_ns, over[0].problem) == (None, None, None)
