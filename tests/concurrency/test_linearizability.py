"""The checker by itself, on histories small enough to judge by eye."""

from typing import Any

import pytest

from tests.concurrency.linearizability import Event, UndecidedError, linearization

Page = int


class LogSpecification:
    """A dirty log: ("write", page) answers None, ("get", None) answers the pages and forgets them."""

    def start(self) -> frozenset[Page]:
        return frozenset()

    def step(self, state: frozenset[Page], call: Any) -> tuple[Any, frozenset[Page]]:
        name, page = call
        match name:
            case "write":
                return None, state | {page}
            case "peek":
                return state, state
            case _:
                return state, frozenset()

    def key(self, state: frozenset[Page]) -> object:
        return state


def write(page: Page, began: float, ended: float) -> Event:
    return Event(("write", page), None, began, ended)


def get(pages: set[Page], began: float, ended: float) -> Event:
    return Event(("get", None), frozenset(pages), began, ended)


def peek(pages: set[Page], began: float, ended: float) -> Event:
    return Event(("peek", None), frozenset(pages), began, ended)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [write(1, 0, 1), get({1}, 2, 3), get(set(), 4, 5)],
        # A write and a get that overlap: either may come first.
        [write(1, 0, 3), get({1}, 1, 2)],
        [write(1, 0, 3), get(set(), 1, 2), get({1}, 4, 5)],
        # The answers came in another order than the calls took effect.
        [get({1, 2}, 0, 9), write(1, 0, 1), write(2, 2, 8), peek({1}, 3, 4)],
        # Two gets at once share the pages out.
        [write(1, 0, 1), write(2, 0, 1), get({1, 2}, 2, 5), get(set(), 3, 4)],
    ],
)
def test_a_history_that_some_order_explains_is_accepted(history: list[Event]) -> None:
    order = linearization(history, LogSpecification())

    assert order is not None
    assert sorted(map(id, order)) == sorted(map(id, history))
    state = LogSpecification().start()
    for number, event in enumerate(order):
        answer, state = LogSpecification().step(state, event.call)
        assert answer == event.answer
        assert all(later.answered_at >= event.invoked_at for later in order[number:])


@pytest.mark.parametrize(
    ("wrong", "history"),
    [
        ("stale read", [write(1, 0, 1), peek(set(), 2, 3)]),
        ("lost page", [write(1, 0, 1), get(set(), 2, 3), get(set(), 4, 5)]),
        ("reported twice", [write(1, 0, 1), get({1}, 2, 3), get({1}, 4, 5)]),
        ("reported twice at once", [write(1, 0, 1), get({1}, 2, 5), get({1}, 3, 4)]),
        ("read from the future", [peek({1}, 0, 1), write(1, 2, 3)]),
        ("never written", [write(1, 0, 9), get({2}, 1, 2)]),
        # Each pair could be explained, the three together cannot.
        ("seen, then unseen", [write(1, 0, 9), peek({1}, 1, 2), peek(set(), 3, 4)]),
        (
            "seen in two orders",
            [write(1, 0, 9), write(2, 0, 9), peek({1}, 1, 3), peek({2}, 2, 4)],
        ),
    ],
)
def test_a_history_that_no_order_explains_is_rejected(wrong: str, history: list[Event]) -> None:
    assert linearization(history, LogSpecification()) is None, wrong


def test_a_wrong_history_of_many_calls_at_once_is_rejected_in_time() -> None:
    """12 writes at once have 12! orders and 2^12 states: only what is not searched twice ends."""
    writes = [write(page, 0, 10 + page) for page in range(12)]

    assert linearization([*writes, get({99}, 40, 41)], LogSpecification()) is None


def test_a_search_that_takes_too_long_says_so() -> None:
    writes = [write(page, 0, 10 + page) for page in range(12)]

    with pytest.raises(UndecidedError):
        linearization([*writes, get({99}, 40, 41)], LogSpecification(), max_steps=100)
