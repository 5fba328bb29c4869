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
    """A VM of a scenario, as POST /v1/vms makes one."""

    key: ScenarioName
    """What the rest of the scenario names it by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepExpect(Request):
    """What a step's action is expected to return; without a status, anything but a refusal."""

    status: HttpStatus | None = None
    """The status."""
    body: Mapping[str, Any] | None = None
    """Part of the answer; {"$at_least": n} and {"$at_most": n} stand for numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioStep(Request):
    """An action on a VM, as a batch takes it, and what is expected of it."""

    vm: ScenarioName
    """The VM's key."""
    action: BatchAction
    """What is performed."""
    expect: StepExpect = StepExpect()
    """What is expected of it."""


@dataclass(frozen=True, kw_only=True)
class ScenarioMigration(PresetMigration):
    """A migration of one of the VMs, as POST /v1/migrations begins one."""

    vm: ScenarioName
    """The VM's key."""
    pace_ms: PaceMs = 0
    """Real milliseconds to wait after each iteration and phase, to watch it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario(Request):
    """VMs that a session consists of, steps on them up to the first that fails, a migration."""

    scenario: ScenarioName
    """Its name."""
    description: Annotated[str, Len(0, 4_000)] = ""
    """What it shows."""
    seen_in: Annotated[str, Len(0, 1_000)] = ""
    """Where the behaviour was met."""
    vms: Annotated[tuple[ScenarioVm, ...], Len(1, MAX_SCENARIO_VMS)]
    """The VMs."""
    steps: Annotated[tuple[ScenarioStep, ...], Len(0, MAX_STEPS)] = ()
    """The steps."""
    migration: ScenarioMigration | None = None
    """What follows the steps."""
    expect: Mapping[str, Any] | None = None
    """Part of the migration's report; without a status, it is to be completed."""


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
    """Where an answer is not what was expected."""

    pointer: str
    """A JSON pointer into the answer."""
    detail: str
    """One sentence."""
    expected: Any
    """What was expected."""
    found: Any
    """What was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome(Model):
    """What came of a step: its action's status and answer, null where it was not performed."""

    step: Count
    """Its number, from 0."""
    vm: str
    """The VM's key."""
    op: str
    """The action."""
    verdict: StepVerdict
    """How it ended."""
    status: Count | None
    """The action's status."""
    body: Mapping[str, Any] | None
    """The action's answer."""
    mismatches: tuple[Mismatch, ...]
    """Where it is not what was expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmOfScenario(Model):
    """A VM of a scenario by its key."""

    key: str
    """Its key."""
    vm_id: str
    """Its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioOutcome(Model):
    """A scenario of a session, and its outcome."""

    session_id: str
    """The session."""
    scenario: str
    """The scenario's name."""
    verdict: Verdict
    """Its state."""
    removed_vms: Count
    """How many VMs the session had before."""
    vms: tuple[VmOfScenario, ...]
    """Its VMs."""
    steps: tuple[StepOutcome, ...]
    """What came of each step."""
    migration: MigrationInfo | None
    """The migration that followed."""
    problem: Problem | None
    """Why the migration could not begin."""
    mismatches: tuple[Mismatch, ...]
    """Where the migration's report is not what was expected."""
    document: Mapping[str, Any]
    """The scenario itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinScenario(Model):
    """A scenario that comes with the service."""

    scenario: str
    """Its name."""
    description: str
    """What it shows."""
    seen_in: str
    """Where the behaviour was met."""
    document: Mapping[str, Any]
    """The scenario itself."""
