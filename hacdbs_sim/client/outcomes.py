"""What scenarios answer, as frozen values."""

from typing import Any

from hacdbs_sim.client.answers import Answer
from hacdbs_sim.client.reports import MigrationInfo


class Mismatch(Answer):
    """Where an answer is not what was expected."""

    pointer: str
    detail: str
    expected: Any
    found: Any


class ScenarioStep(Answer):
    """What came of a step of a scenario; without a status it was not performed."""

    step: int
    vm: str
    op: str
    verdict: str
    status: int | None
    body: dict[str, Any] | None
    mismatches: list[Mismatch]


class ScenarioVm(Answer):
    """A VM of a scenario by its key."""

    key: str
    vm_id: str


class ScenarioOutcome(Answer):
    """A scenario that stands in a session, and what came of it."""

    session_id: str
    scenario: str
    verdict: str
    removed_vms: int
    vms: list[ScenarioVm]
    steps: list[ScenarioStep]
    migration: MigrationInfo | None
    problem: dict[str, Any] | None
    mismatches: list[Mismatch]
    document: dict[str, Any]


class ShippedScenario(Answer):
    """A scenario that ships with the service."""

    scenario: str
    description: str
    seen_in: str
    document: dict[str, Any]
