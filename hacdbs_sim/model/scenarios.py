"""Scenarios: VMs, steps on them and a migration in one document, each with what is expected."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final

from annotated_types import Len

from hacdbs_sim.model.base import Model, Request
from hacdbs_sim.model.batches import BatchAction
from hacdbs_sim.model.kinds import Count, Pattern, whole
from hacdbs_sim.model.migration_reports import MigrationInfo
from hacdbs_sim.model.migrations import PaceMs, PresetMigration
from hacdbs_sim.model.problems import Problem
from hacdbs_sim.model.vms import VmSpec

SCENARIO_NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
MAX_SCENARIO_VMS: Final = 16
MAX_STEPS: Final = 1_000

ScenarioName = Annotated[str, Pattern(SCENARIO_NAME_PATTERN)]
HttpStatus = Annotated[int, whole(100, 599)]


@dataclass(frozen=True, kw_only=True)
class ScenarioVm(VmSpec):
    """A VM of a scenario, as POST /v1/vms makes one.

    Attributes:
        key: What the rest of the scenario names it by.
    """

    key: ScenarioName


@dataclass(frozen=True, slots=True, kw_only=True)
class StepExpect(Request):
    """What a step's action is expected to return; without a status, anything but a refusal.

    Attributes:
        status: The status.
        body: Part of the answer; {"$at_least": n} and {"$at_most": n} stand for numbers.
    """

    status: HttpStatus | None = None
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioStep(Request):
    """An action on a VM, as a batch takes it, and what is expected of it.

    Attributes:
        vm: The VM's key.
        action: What is performed.
        expect: What is expected of it.
    """

    vm: ScenarioName
    action: BatchAction
    expect: StepExpect = StepExpect()


@dataclass(frozen=True, kw_only=True)
class ScenarioMigration(PresetMigration):
    """A migration of one of the VMs, as POST /v1/migrations begins one.

    Attributes:
        vm: The VM's key.
        pace_ms: Real milliseconds to wait after each iteration and phase, to watch it.
    """

    vm: ScenarioName
    pace_ms: PaceMs = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario(Request):
    """VMs that a session consists of, steps on them up to the first that fails, a migration.

    Attributes:
        scenario: Its name.
        description: What it shows.
        seen_in: Where the behaviour was met.
        vms: The VMs.
        steps: The steps.
        migration: What follows the steps.
        expect: Part of the migration's report; without a status, it is to be completed.
    """

    scenario: ScenarioName
    description: Annotated[str, Len(0, 4_000)] = ""
    seen_in: Annotated[str, Len(0, 1_000)] = ""
    vms: Annotated[tuple[ScenarioVm, ...], Len(1, MAX_SCENARIO_VMS)]
    steps: Annotated[tuple[ScenarioStep, ...], Len(0, MAX_STEPS)] = ()
    migration: ScenarioMigration | None = None
    expect: Mapping[str, Any] | None = None


class Verdict(StrEnum):
    """The state of a scenario."""

    PASSED = "passed"
    FAILED = "failed"
    RUNNING = "running"


class StepVerdict(StrEnum):
    """How a step ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch(Model):
    """Where an answer is not what was expected.

    Attributes:
        pointer: A JSON pointer into the answer.
        detail: One sentence.
        expected: What was expected.
        found: What was found.
    """

    pointer: str
    detail: str
    expected: Any
    found: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome(Model):
    """What came of a step: its action's status and answer, null where it was not performed.

    Attributes:
        step: Its number, from 0.
        vm: The VM's key.
        op: The action.
        verdict: How it ended.
        status: The action's status.
        body: The action's answer.
        mismatches: Where it is not what was expected.
    """

    step: Count
    vm: str
    op: str
    verdict: StepVerdict
    status: Count | None
    body: Mapping[str, Any] | None
    mismatches: tuple[Mismatch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VmOfScenario(Model):
    """A VM of a scenario by its key.

    Attributes:
        key: Its key.
        vm_id: Its id.
    """

    key: str
    vm_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioOutcome(Model):
    """A scenario of a session, and its outcome.

    Attributes:
        session_id: The session.
        scenario: The scenario's name.
        verdict: Its state.
        removed_vms: How many VMs the session had before.
        vms: Its VMs.
        steps: What came of each step.
        migration: The migration that followed.
        problem: Why the migration could not begin.
        mismatches: Where the migration's report is not what was expected.
        document: The scenario itself.
    """

    session_id: str
    scenario: str
    verdict: Verdict
    removed_vms: Count
    vms: tuple[VmOfScenario, ...]
    steps: tuple[StepOutcome, ...]
    migration: MigrationInfo | None
    problem: Problem | None
    mismatches: tuple[Mismatch, ...]
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinScenario(Model):
    """A scenario that comes with the service.

    Attributes:
        scenario: Its name.
        description: What it shows.
        seen_in: Where the behaviour was met.
        document: The scenario itself.
    """

    scenario: str
    description: str
    seen_in: str
    document: Mapping[str, Any]
