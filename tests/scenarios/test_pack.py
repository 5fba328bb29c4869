"""The scenarios that ship: each does what it says, and says it so that it would be noticed."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hacdbs_sim.client import Client
from hacdbs_sim.model import ScenarioOutcome
from hacdbs_sim.scenarios.builtin import load, names

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "scenarios.md"


def play(client: Client, document: dict[str, Any]) -> ScenarioOutcome:
    client.session().reset()
    played = client.session().put_scenario(document)
    while played.verdict == "running":
        played = client.session().get_scenario(wait_seconds=60)
    return played


def leaves(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Find the values in what is expected; an empty array is one."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, (*path, name))
    elif isinstance(node, list) and node:
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path


def spoiled(document: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
    """Expect something else at one place."""
    other = copy.deepcopy(document)
    *above, last = path
    node: Any = other
    for step in above:
        node = node[step]
    is_status = last == "status" and above[-1] == "expect" and "steps" in path
    node[last] = 199 if is_status else "something else"
    return other


def expectations(document: dict[str, Any]) -> Iterator[tuple[str | int, ...]]:
    for number, step in enumerate(document.get("steps", [])):
        yield from leaves(step.get("expect", {}), ("steps", number, "expect"))
    yield from leaves(document.get("expect", {}), ("expect",))


@pytest.mark.parametrize("name", names())
def test_each_scenario_ends_as_it_says(name: str, client: Client) -> None:
    played = play(client, load(name))

    assert [*played.mismatches, *(each for step in played.steps for each in step.mismatches)] == []
    assert played.verdict == "passed"


@pytest.mark.parametrize("name", names())
def test_each_scenario_fails_once_any_of_its_expectations_is_spoiled(
    name: str, client: Client
) -> None:
    document = load(name)
    places = list(expectations(document))

    assert len(places) >= 3
    for place in places:
        played = play(client, spoiled(document, place))

        assert played.verdict == "failed", place
        failed = [step.step for step in played.steps if step.verdict == "failed"]
        assert failed == ([place[1]] if place[0] == "steps" else [])
        assert bool(played.mismatches) is (place[0] == "expect")


@pytest.mark.parametrize("name", names())
def test_each_scenario_says_what_it_is_and_where_it_was_seen(name: str) -> None:
    document = load(name)

    assert document["scenario"] == name
    assert len(document["description"]) > 100
    assert "docs/kernel.md" in document["seen_in"]


def test_the_pack_has_what_the_documentation_lists() -> None:
    _, _, pack = DOCUMENTATION.read_text(encoding="utf-8").partition("## The pack")

    assert re.findall(r"^\| `([a-z0-9-]+)` \|", pack, re.MULTILINE) == names()


def test_the_service_shows_each_as_its_file_says(client: Client) -> None:
    shown = {each.scenario: each for each in client.list_scenarios()}

    assert list(shown) == names()
    for name, each in shown.items():
        assert each.document == load(name)
        assert client.get_builtin_scenario(name) == each
