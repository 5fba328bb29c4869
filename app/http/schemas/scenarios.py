"""Scenarios: VMs, steps on them and a migration in one document, each with what is expected."""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import FailFast, Field, JsonValue
from typing_extensions import TypedDict

from .base import Request, answer, example, omittable
from .batch import BatchAction
from .fields import Whole
from .migrations import MigrationFields, PaceMs
from .problem import ProblemOut
from .reports import MigrationOut
from .vms import VmFields

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
MAX_SCENARIO_VMS: Final = 16
MAX_STEPS: Final = 1_000

Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class ScenarioVm(VmFields):
    """A VM of a scenario, as POST /v1/vms makes one, and the key by which the rest names it."""

    key: Name


class StepExpect(Request):
    """What a step's action is expected to answer; without a status, anything but a refusal."""

    status: Annotated[int, Whole(100, 599)] = omittable()
    body: dict[str, JsonValue] = omittable(
        description='Part of the answer; {"$at_least": n} and {"$at_most": n} stand for numbers.'
    )


class ScenarioStep(Request):
    """An action on a VM, as a batch takes it, and what is expected of it."""

    vm: Name
    action: BatchAction
    expect: StepExpect = StepExpect()


class ScenarioMigration(MigrationFields):
    """A migration of one of the VMs, as POST /v1/migrations begins one."""

    vm: Name
    pace_ms: PaceMs = 0


class ScenarioIn(Request):
    """VMs that a session consists of, steps on them up to the first that fails, a migration."""

    model_config = example(
        scenario="one-write",
        vms=[
            {
                "key": "src",
                "memslots": [
                    {
                        "slot": 0,
                        "guest_phys_addr": "0x40000000",
                        "memory_size": "2MiB",
                        "flags": ["LOG_DIRTY_PAGES"],
                    }
                ],
            }
        ],
        steps=[
            {
                "vm": "src",
                "action": {"op": "guest_write", "gfns": [262144]},
                "expect": {"status": 200, "body": {"newly_dirty": 1}},
            }
        ],
    )

    max_bytes: ClassVar = 8 << 20
    max_colons: ClassVar = 1 << 18

    scenario: Name
    description: Annotated[str, Field(max_length=4_000)] = ""
    seen_in: Annotated[str, Field(max_length=1_000)] = Field(
        default="", description="Where the behaviour was met."
    )
    vms: Annotated[list[ScenarioVm], FailFast(), Field(min_length=1, max_length=MAX_SCENARIO_VMS)]
    steps: Annotated[list[ScenarioStep], FailFast(), Field(max_length=MAX_STEPS)] = Field(
        default=[]
    )
    migration: ScenarioMigration = omittable(description="What follows the steps.")
    expect: dict[str, JsonValue] = omittable(
        description="Part of the migration's report; without a status, it is to be completed."
    )


Verdict = Literal["passed", "failed", "running"]


@answer
class MismatchOut(TypedDict):
    """Where an answer is not what was expected."""

    pointer: str
    detail: str
    expected: Any
    found: Any


@answer
class StepOut(TypedDict):
    """What came of a step: its action's status and answer, null where it was not performed."""

    step: int
    vm: str
    op: str
    verdict: Literal["passed", "failed", "skipped"]
    status: int | None
    body: dict[str, Any] | None
    mismatches: list[MismatchOut]


@answer
class ScenarioVmOut(TypedDict):
    """A VM of a scenario by its key."""

    key: str
    vm_id: str


@answer
class ScenarioOut(TypedDict):
    """A scenario that stands in a session, and what came of it.

    `problem` is why the migration could not begin; `mismatches` are those of its report.
    """

    session_id: str
    scenario: str
    verdict: Verdict
    removed_vms: int
    vms: list[ScenarioVmOut]
    steps: list[StepOut]
    migration: MigrationOut | None
    problem: ProblemOut | None
    mismatches: list[MismatchOut]
    document: dict[str, Any]


@answer
class BuiltinScenarioOut(TypedDict):
    """A scenario that ships with the service."""

    scenario: str
    description: str
    seen_in: str
    document: dict[str, Any]


@answer
class BuiltinScenarioListOut(TypedDict):
    """The scenarios that ship, by name."""

    scenarios: list[BuiltinScenarioOut]
    next_page_token: str
