"""The schedule of a migration: actions and changes at points of it."""

from collections.abc import Callable, Iterator, Sequence

from hacdbs_sim.model import Phase, Point, Refused, Scheduled, ScheduledOutcome


class Schedule:
    """What happens when, and what became of it.

    Args:
        items: What was scheduled, in order.
    """

    def __init__(self, items: Sequence[Scheduled]) -> None:
        self._items = tuple(items)
        self._waiting = dict(enumerate(items))
        self._done: dict[int, ScheduledOutcome] = {}

    def of_iteration(self, number: int) -> Iterator[tuple[int, Scheduled]]:
        """Take what happens before the get of a pass."""
        return self._take(lambda item: item.point.iteration == number)

    def of_phase(self, phase: Phase, point: Point) -> Iterator[tuple[int, Scheduled]]:
        """Take what happens at a point of a phase."""
        return self._take(lambda item: item.point.phase is phase and item.point.point is point)

    def due(self, elapsed_ns: int) -> Iterator[tuple[int, Scheduled]]:
        """Take what has its time."""
        return self._take(lambda item: item.point.ns is not None and item.point.ns <= elapsed_ns)

    def next_ns(self) -> int | None:
        """Return when the next item with a time is due, since the start; None: there is none."""
        times = (item.point.ns for item in self._waiting.values())
        return min((ns for ns in times if ns is not None), default=None)

    def _take(self, is_now: Callable[[Scheduled], bool]) -> Iterator[tuple[int, Scheduled]]:
        # One by one: an item may be scheduled behind one that ends the migration
        for index, item in list(self._waiting.items()):
            if is_now(item):
                del self._waiting[index]
                yield index, item

    def record(self, index: int, iteration: int, now_ns: int, problem: Refused | None) -> None:
        """Record what became of an item."""
        item = self._items[index]
        self._done[index] = ScheduledOutcome(
            index=index,
            at=item.point,
            reached=True,
            op=_op_of(item),
            iteration=iteration,
            now_ns=now_ns,
            problem=problem,
        )

    def outcomes(self, *, is_over: bool) -> tuple[ScheduledOutcome, ...]:
        """Return what became of the items so far; of all of them once the migration is over."""
        missed = {
            index: ScheduledOutcome(
                index=index,
                at=item.point,
                reached=False,
                op=_op_of(item),
                iteration=None,
                now_ns=None,
                problem=None,
            )
            for index, item in (self._waiting.items() if is_over else ())
        }
        done = {**self._done, **missed}
        return tuple(done[index] for index in sorted(done))


def _op_of(item: Scheduled) -> str:
    return "set" if item.action is None else item.action.op
