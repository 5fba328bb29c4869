"""The recipes of docs/cookbook.md run as written, by the plugin, as a user would."""

import re
from pathlib import Path

import pytest

from tests.plugin.conftest import Run, loaded, run  # noqa: F401 - fixtures

PAGE = (Path(__file__).parents[2] / "docs" / "cookbook.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
RECIPES = re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE)


def test_there_are_ten_recipes_or_more_and_each_is_a_test() -> None:
    recipes = BLOCKS[1:]

    assert [int(number) for number in RECIPES] == list(range(1, len(recipes) + 1))
    assert len(recipes) >= 10
    assert all(re.search(r"^def test_\w+\(", recipe, re.MULTILINE) for recipe in recipes)


def test_the_recipes_pass(pytester: pytest.Pytester, run: Run) -> None:  # noqa: F811 - a fixture
    pytester.makepyfile("\n\n".join(BLOCKS))

    result = run("-n", "0", "-W", "error")

    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed"}
    assert outcomes["passed"] >= len(RECIPES)


@pytest.mark.slow
def test_a_recipe_that_does_not_hold_is_noticed(
    pytester: pytest.Pytester,
    run: Run,  # noqa: F811 - a fixture
) -> None:
    spoiled = PAGE.replace("cleaned + log.software.pages == 2000", "cleaned == 2000")
    pytester.makepyfile("\n\n".join(re.findall(r"```python\n(.*?)```", spoiled, re.DOTALL)[:2]))

    result = run("-n", "0")

    result.assert_outcomes(failed=4)
