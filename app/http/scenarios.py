"""How a scenario is put up in a session: VMs, then steps, each judged by what it answers.

Here and not in the fleet, because a step's action and what is expected of its answer are JSON: the
answer is what the action's own call would have given.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, cast

import orjson
from pydantic_core import from_json
from starlette.requests import Request

from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.vmm import MigrationStatus

from ..service.budget import Account
from ..service.errors import NoSuchScenarioError, NoSuchVmError, SenselessScenarioError
from ..service.fleet import Fleet, Vm
from ..service.scenarios import StandingScenario
from .batches import MAX_ANSWER_BYTES, perform, work_of_batch
from .bodies import decode, media_type_of, read_body, validate
from .codec import BatchAnswerLimitError
from .json_match import mismatches
from .problems import MALFORMED_BODY, Refusal, Site, kvm_document
from .responses import JSON_MEDIA_TYPE, Answer
from .schemas.reports import MigrationOut, migration_out
from .schemas.scenarios import (
    MismatchOut,
    ScenarioIn,
    ScenarioMigration,
    ScenarioOut,
    ScenarioStep,
    StepExpect,
    StepOut,
    Verdict,
)

FIRST_REFUSAL: Final = 400


class Scenario(NamedTuple):
    """A scenario that was read.

    Attributes:
        spec: What it says.
        document: How it says it, as JSON with sorted names.
    """

    spec: ScenarioIn
    document: bytes


def scenario_of(body: bytes) -> Scenario:
    """Read a scenario from JSON."""
    spec = validate(ScenarioIn, body)
    try:  # what is expected may be any JSON, and pydantic's has NaN
        document = from_json(body, allow_inf_nan=False)
    except ValueError as malformed:
        raise Refusal(MALFORMED_BODY, f"the body is not JSON: {malformed}") from None
    _check_expected(spec)
    return Scenario(spec, orjson.dumps(document, option=orjson.OPT_SORT_KEYS))


def _check_expected(spec: ScenarioIn) -> None:
    """Refuse what an answer can neither be nor repeat: integers beyond 64 bits."""
    expected = {f"steps.{at}.expect.body": step.expect.body for at, step in enumerate(spec.steps)}
    for field, value in {**expected, "expect": spec.expect}.items():
        try:
            orjson.dumps(value)
        except orjson.JSONEncodeError:
            raise SenselessScenarioError(
                f"{field} must have no integer beyond 64 bits: no answer has one",
                field=field,
                bound=(1 << 64) - 1,
            ) from None


async def read_scenario(request: Request) -> Scenario:
    """Read the scenario in a body."""
    media_type_of(request, JSON_MEDIA_TYPE)
    return await decode(scenario_of, await read_body(request, ScenarioIn.max_bytes))


async def apply(fleet: Fleet, session_id: str, scenario: Scenario) -> tuple[StandingScenario, bool]:
    """Make a session be what a scenario says, and play its steps; once for the same document.

    Another document, or VMs that are there already, go first: the session is reset. What is refused
    is so before, and changes nothing.

    Returns:
        The scenario, and whether it was put up now.
    """
    session = fleet.session(session_id)
    # A caller who leaves meanwhile does not leave half a session
    return await asyncio.shield(
        asyncio.ensure_future(_put_up(fleet, session_id, session.scenario_lock, scenario))
    )


async def _put_up(
    fleet: Fleet, session_id: str, lock: asyncio.Lock, scenario: Scenario
) -> tuple[StandingScenario, bool]:
    async with lock:
        standing = fleet.session(session_id).scenario
        if standing is not None and standing.document == scenario.document:
            return standing, False
        _check_keys(scenario.spec)
        account = Account(fleet.budget)
        account.hold(len(scenario.document))
        try:
            specs = [vm.to_spec(session_id) for vm in scenario.spec.vms]
            vms, removed_vms = await fleet.replace_vms(session_id, specs)
        except BaseException:
            account.close()
            raise
        keyed = dict(zip((vm.key for vm in scenario.spec.vms), vms, strict=True))
        vm_ids = {key: vm.vm_id for key, vm in keyed.items()}
        standing = StandingScenario(scenario.document, account, removed_vms, vm_ids)
        fleet.session(session_id).scenario = standing
        await _Play(fleet, standing, keyed, len(scenario.document)).all_of(scenario.spec)
        return standing, True


def _check_keys(spec: ScenarioIn) -> None:
    keys: set[str] = set()
    for index, vm in enumerate(spec.vms):
        if vm.key in keys:
            raise SenselessScenarioError(
                "two VMs of a scenario must not have one key",
                field=f"vms.{index}.key",
                value=vm.key,
            )
        keys.add(vm.key)
    for index, step in enumerate(spec.steps):
        _check_named(keys, step.vm, f"steps.{index}.vm")
    if spec.migration is not None:
        _check_named(keys, spec.migration.vm, "migration.vm")
    elif spec.expect is not None:
        raise SenselessScenarioError(
            "expect is about a migration, and the scenario has none", field="expect"
        )


def _check_named(keys: set[str], key: str, field: str) -> None:
    if key not in keys:
        raise SenselessScenarioError(
            "the scenario must have a VM of this key",
            field=field,
            bound=", ".join(sorted(keys)),
            value=key,
        )


@dataclass(slots=True, eq=False)
class _Play:
    """Plays the steps of a scenario that has just been put up."""

    fleet: Fleet
    standing: StandingScenario
    vms: Mapping[str, Vm]
    held_bytes: int

    async def all_of(self, spec: ScenarioIn) -> None:
        """Play the steps, and begin the migration if none fails."""
        await self._steps(spec.steps)
        if not self.standing.has_failed and spec.migration is not None:
            self._begin(spec.migration)
        self.standing.is_done = True

    def _begin(self, migration: ScenarioMigration) -> None:
        vm = self.vms[migration.vm]
        try:
            self._check(vm)
            self.standing.migration = self.fleet.migrations.start(
                vm.session_id, vm.vm_id, vm.runtime, migration.to_spec(), pace_ms=migration.pace_ms
            )
        except KvmError as refused:
            site = Site("/v1/migrations", "start_migration", body_pointer="/migration")
            self.standing.refused = {**kvm_document(refused, site)}

    async def _steps(self, steps: Sequence[ScenarioStep]) -> None:
        """Play them up to the first that fails."""
        is_failed = False
        for number, step in enumerate(steps):
            out = _skipped(number, step)
            if not is_failed:
                await self._perform(step, out)
                is_failed = out["verdict"] == "failed"
            self.standing.steps.append({**out})
            await asyncio.sleep(0)  # short ones run on the event loop: others have their turn

    async def _perform(self, step: ScenarioStep, out: StepOut) -> None:
        """Perform a step and judge what it answers."""
        vm = self.vms[step.vm]

        def answer_and_weigh() -> tuple[Answer, int]:
            answer = perform(vm, step.action)
            return answer, len(orjson.dumps(answer.body))

        try:
            self._check(vm)
            answer, answer_bytes = await vm.runtime.run(
                answer_and_weigh, work=lambda: work_of_batch(vm, [step.action])
            )
            self.held_bytes += answer_bytes
            self.standing.account.hold(self.held_bytes)
            out["status"] = answer.status
            out["body"] = None if answer.body is None else {**answer.body}
        except KvmError as refused:
            pointer = f"/steps/{out['step']}/action"
            site = Site(f"/v1/vms/{vm.vm_id}/batch", step.action.op, body_pointer=pointer)
            problem = kvm_document(refused, site)
            out["status"], out["body"] = problem["status"], {**problem}
        assert out["status"] is not None
        out["mismatches"] = judge(step.expect, out["status"], out["body"])
        out["verdict"] = "failed" if out["mismatches"] else "passed"

    def _check(self, vm: Vm) -> None:
        """Refuse a step where no more may be answered, or whose VM has gone meanwhile."""
        if self.fleet.vm(vm.vm_id) is not vm:
            raise NoSuchVmError("there is no such VM any more", field="vm", value=vm.vm_id)
        if self.held_bytes > MAX_ANSWER_BYTES:
            raise BatchAnswerLimitError(
                f"the scenario and its answers have {self.held_bytes} bytes,"
                f" they may have {MAX_ANSWER_BYTES}",
                bound=MAX_ANSWER_BYTES,
                value=self.held_bytes,
            )


def _skipped(number: int, step: ScenarioStep) -> StepOut:
    return {
        "step": number,
        "vm": step.vm,
        "op": step.action.op,
        "verdict": "skipped",
        "status": None,
        "body": None,
        "mismatches": [],
    }


def judge(expect: StepExpect, status: int, body: Mapping[str, Any] | None) -> list[MismatchOut]:
    """Compare an answer with what is expected; without a status, a refusal is not."""
    expected = expect.model_dump(exclude_unset=True)
    if "status" not in expected and status >= FIRST_REFUSAL:
        told: MismatchOut = {
            "pointer": "/status",
            "detail": "must be no refusal",
            "expected": None,
            "found": status,
        }
        return [told, *mismatches(expected, {"status": status, "body": body})]
    return mismatches(expected, {"status": status, "body": body})


def standing_in(fleet: Fleet, session_id: str) -> StandingScenario:
    """Find the scenario that stands in a session."""
    standing = fleet.session(session_id).scenario
    if standing is None:
        raise NoSuchScenarioError("no scenario stands in the session")
    return standing


class Outcome(NamedTuple):
    """A scenario as far as it has come.

    Attributes:
        verdict: What that amounts to.
        report: The migration's; None where none has begun.
        mismatches: Where the report is not what was expected, once the migration has ended.
    """

    verdict: Verdict
    report: MigrationOut | None
    mismatches: list[MismatchOut]


def outcome_of(standing: StandingScenario, document: Mapping[str, Any]) -> Outcome:
    """Judge a scenario as far as it has come."""
    migration = standing.migration
    is_over = migration is None or migration.run.is_over  # first: then the report is the last one
    report = None if migration is None else migration_out(migration)
    told = judge_migration(document, report) if report is not None and is_over else []
    if standing.has_failed or standing.refused is not None:
        return Outcome("failed", report, told)
    if not (standing.is_done and is_over):
        return Outcome("running", report, told)
    return Outcome("failed" if told else "passed", report, told)


def judge_migration(document: Mapping[str, Any], report: Mapping[str, Any]) -> list[MismatchOut]:
    """Compare a migration's report with what is expected; without a status, a completed one."""
    return mismatches(
        {"status": MigrationStatus.COMPLETED.value, **document.get("expect", {})}, report
    )


def scenario_out(session_id: str, standing: StandingScenario) -> ScenarioOut:
    """Project a scenario and what came of it."""
    document = orjson.loads(standing.document)
    verdict, report, told = outcome_of(standing, document)
    return {
        "session_id": session_id,
        "scenario": document["scenario"],
        "verdict": verdict,
        "removed_vms": standing.removed_vms,
        "vms": [{"key": key, "vm_id": vm_id} for key, vm_id in standing.vm_ids.items()],
        "steps": cast("list[StepOut]", [*standing.steps]),
        "migration": report,
        "problem": cast("Any", standing.refused),
        "mismatches": told,
        "document": document,
    }
