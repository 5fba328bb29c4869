"""Scenarios: a session as one document says it, and the documents that ship."""

from collections.abc import Mapping
from typing import Any

from hacdbs_sim.client.answers import Page
from hacdbs_sim.client.call import Call, change, get, listing, nothing, path, reading
from hacdbs_sim.client.outcomes import ScenarioOutcome, ShippedScenario


def _of_session(session_id: str) -> str:
    return path("v1", "sessions", session_id, "scenario")


def put_scenario(session_id: str, document: Mapping[str, Any]) -> Call[ScenarioOutcome]:
    """Make the session be what a scenario says, and play its steps.

    Where the same document stands already, nothing is done. What else the session had is gone.
    """
    decode = reading(ScenarioOutcome)
    return change("put_scenario", "PUT", _of_session(session_id), decode, document)


def get_scenario(session_id: str, *, wait_seconds: int | None = None) -> Call[ScenarioOutcome]:
    """Show the scenario that stands in the session, and what came of it.

    With `wait_seconds`, up to 60, its migration's end is waited for; then it is told as it stands.
    """
    where = _of_session(session_id)
    return get("get_scenario", where, ScenarioOutcome, wait_seconds=wait_seconds)


def delete_scenario(session_id: str) -> Call[None]:
    """Take the scenario off: the session is reset."""
    return change("delete_scenario", "DELETE", _of_session(session_id), nothing)


def list_scenarios(*, limit: int | None = None) -> Call[Page[ShippedScenario]]:
    """List the scenarios that ship, by name; `limit` is how many one request asks for."""
    where = path("v1", "scenarios")
    return listing("list_scenarios", where, ShippedScenario, "scenarios", limit=limit)


def get_shipped_scenario(name: str) -> Call[ShippedScenario]:
    """Show a scenario that ships."""
    return get("get_shipped_scenario", path("v1", "scenarios", name), ShippedScenario)
