"""Whether a history of concurrent calls could be that of one call after another (Wing and Gong; Lowe).

A search for an order that keeps each call between its invocation and its response and in which a
sequential specification has the answers that were seen. What was reached before (the calls done,
and the state) is not searched again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

S = TypeVar("S")

MAX_STEPS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Event:
    """One call: what was asked, what was answered, and the times between which it took effect."""

    call: Any
    answer: Any
    invoked_at: float
    answered_at: float


class Specification(Protocol[S]):
    """What one call after another would do."""

    def start(self) -> S:
        """Return the state before the first call."""

    def step(self, state: S, call: Any) -> tuple[Any, S]:
        """Return the answer and the state after; the state before stays as it is."""

    def key(self, state: S) -> object:
        """Return something hashable that is equal for equal states."""


class UndecidedError(Exception):
    """The search took more steps than it may: a history that is wrong can take very many."""


def linearization(
    events: Sequence[Event], specification: Specification[S], max_steps: int = MAX_STEPS
) -> list[Event] | None:
    """Find an order that explains a history; None if there is none.

    Raises:
        UndecidedError: neither after so many steps.
    """
    # A service mostly answers in the order in which calls took effect, so that order is tried first.
    ordered = sorted(events, key=lambda event: event.answered_at)
    every = (1 << len(ordered)) - 1
    seen: set[tuple[int, object]] = set()
    path: list[int] = []
    steps = 0
    # Each entry: calls done, the state, and the calls still to be tried as the next one.
    frames: list[tuple[int, S, list[int]]] = []

    def enter(done: int, state: S) -> None:
        candidates = _next_ones(ordered, done)
        frames.append((done, state, candidates[::-1]))

    enter(0, specification.start())
    while frames:
        done, state, untried = frames[-1]
        if done == every:
            return [ordered[number] for number in path]
        if not untried:
            frames.pop()
            if path:
                path.pop()
            continue
        number = untried.pop()
        steps += 1
        if steps > max_steps:
            raise UndecidedError(f"{steps} steps, {len(path)} of {len(ordered)} calls explained")
        answer, after = specification.step(state, ordered[number].call)
        if answer != ordered[number].answer:
            continue
        reached = (done | 1 << number, specification.key(after))
        if reached not in seen:
            seen.add(reached)
            path.append(number)
            enter(reached[0], after)
    return None


def _next_ones(ordered: Sequence[Event], done: int) -> list[int]:
    """Calls that may come next: none that is not done was answered before they were invoked."""
    left = [number for number in range(len(ordered)) if not done >> number & 1]
    if not left:
        return []
    first_answer = ordered[left[0]].answered_at  # they are in that order
    return [number for number in left if ordered[number].invoked_at <= first_answer]
