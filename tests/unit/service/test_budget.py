from collections.abc import Callable
from threading import Lock

import pytest

from app.service.budget import Account, StateBudget
from app.service.errors import StateBytesLimitError


def test_accounts_share_one_limit() -> None:
    budget = StateBudget(100)
    one, other = Account(budget), Account(budget)

    one.hold(60)
    with pytest.raises(StateBytesLimitError) as refused:
        other.hold(41)
    other.hold(40)

    assert (refused.value.bound, refused.value.value) == (100, 101)
    assert budget.used_bytes == 100


def test_a_holding_shrinks_even_where_it_could_not_grow() -> None:
    budget = StateBudget(100)
    account = Account(budget)
    account.hold(100)

    account.hold(30)

    assert budget.used_bytes == 30


def test_a_closed_account_is_charged_for_nothing() -> None:
    budget = StateBudget(100)
    account = Account(budget)
    account.hold(50)

    account.close()
    account.hold(1000)

    assert budget.used_bytes == 0


class CutIn:
    """A lock that calls a function before it is first acquired."""

    def __init__(self, first: Callable[[], None]) -> None:
        self._first: Callable[[], None] | None = first
        self._lock = Lock()

    def __enter__(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            first()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_an_account_closed_just_before_it_is_charged_is_not_charged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = StateBudget(100)
    account = Account(budget)
    monkeypatch.setattr(budget, "_lock", CutIn(account.close))

    account.hold(50)

    assert budget.used_bytes == 0


def test_an_account_is_closed_with_what_it_was_charged_just_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budget = StateBudget(100)
    account = Account(budget)
    account.hold(10)
    monkeypatch.setattr(budget, "_lock", CutIn(lambda: account.hold(50)))

    account.close()

    assert budget.used_bytes == 0
