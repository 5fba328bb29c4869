"""The builtin scenarios, as the API shows them."""

import pytest

from app.http.scenarios import builtin, find_builtin
from app.service.errors import NoSuchScenarioError
from hacdbs_sim.scenarios.builtin import names


def test_each_scenario_that_ships_is_listed_by_its_name() -> None:
    assert [each.scenario for each in builtin()] == list(names())
    assert all(each.description for each in builtin())


def test_one_is_found_by_its_name() -> None:
    first = builtin()[0]

    assert find_builtin(first.scenario) is first


def test_another_name_is_refused() -> None:
    with pytest.raises(NoSuchScenarioError) as refused:
        find_builtin("none")

    assert (refused.value.field, refused.value.value) == ("name", "none")
