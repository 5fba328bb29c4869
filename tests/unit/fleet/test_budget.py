import pytest

from app.fleet.budget import Account, StateBudget
from app.fleet.errors import StateBytesLimitError


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
