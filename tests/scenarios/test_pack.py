"""Each builtin scenario passes, and fails when any of its expectations is changed."""

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


def run(client: Client, document: dict[str, Any]) -> ScenarioOutcome:
    client.session().reset()
    outcome = client.session().put_scenario(document)
    while outcome.verdict == "running":
        outcome = client.session().get_scenario(wait_seconds=60)
    return outcome


def leaves(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of the values in a document; an empty array is a value."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from leaves(value, (*path, name))
    elif isinstance(node, list) and node:
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path


def with_another_value(document: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
    """Return a copy with another value at a path."""
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
def test_each_scenario_passes(name: str, client: Client) -> None:
    outcome = run(client, load(name))

    assert [
        *outcome.mismatches,
        *(each for step in outcome.steps for each in step.mismatches),
    ] == []
    assert outcome.verdict == "passed"


@pytest.mark.parametrize("name", names())
def test_each_scenario_fails_when_any_expectation_is_changed(name: str, client: Client) -> None:
    document = load(name)
    places = list(expectations(document))

    assert len(places) >= 3
    for place in places:
        outcome = run(client, with_another_value(document, place))

        assert outcome.verdict == "failed", place
        failed = [step.step for step in outcome.steps if step.verdict == "failed"]
        assert failed == ([place[1]] if place[0] == "steps" else [])
        assert bool(outcome.mismatches) is (place[0] == "expect")


@pytest.mark.parametrize("name", names())
def test_each_scenario_has_a_description_and_a_source(name: str) -> None:
    document = load(name)

    assert document["scenario"] == name
    assert len(document["description"]) > 100
    assert "docs/" in document["seen_in"]


def test_the_documentation_lists_each_scenario() -> None:
    _, _, pack = DOCUMENTATION.read_text(encoding="utf-8").partition("## The pack")

    assert re.findall(r"^\| `([a-z0-9-]+)` \|", pack, re.MULTILINE) == names()


def test_the_service_returns_each_document(client: Client) -> None:
    shown = {each.scenario: each for each in client.list_scenarios()}

    assert list(shown) == names()
    for name, each in shown.items():
        assert each.document == load(name)
        assert client.get_builtin_scenario(name) == each
