"""Applying a scenario to a session: its VMs, then its steps, each judged by its response.

This is not in the service, because a step's action and its expected response are JSON: the response is
what the action's own call would have returned.
"""

import asyncio
import json
import sys
from collections.abc import Container, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Final, NamedTuple

import orjson

from hacdbs_sim import model
from hacdbs_sim.model import MigrationStatus, Mismatch, StepOutcome, StepVerdict, Verdict
from hacdbs_sim.model.batches import FIRST_REFUSAL
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.report import MAX_BODY_BYTES
from hacdbs_sim.scenarios.builtin import load, names
from hacdbs_sim.scenarios.matching import mismatches
from hacdbs_sim.wire import Site, document, read, to_plain, write
from hacdbs_sim.wire.cutting import abridged, canonical, decode, members, whole
from hacdbs_sim.wire.writer import Written

from ..service.budget import Account
from ..service.errors import NoSuchScenarioError, NoSuchVmError, SenselessScenarioError
from ..service.fleet import Fleet, Session, Vm
from ..service.migrations import prepare
from ..service.scenarios import StandingScenario
from .batches import check_answer, most_bytes_of
from .bodies import THREAD_BYTES
from .operations import perform_now, work_of_batch
from .presets import with_preset

SCENARIO_BYTES: Final = 8 << 20
MAX_FLOAT: Final = f"{sys.float_info.max}"


class Scenario(NamedTuple):
    """A parsed scenario, and its document as JSON with sorted names."""

    spec: model.Scenario
    document: bytes


def scenario_of(body: bytes) -> Scenario:
    """Parse a scenario from JSON."""
    spec = read(model.Scenario, body)
    text = whole(body)
    expected = _expected_in(spec)
    _check_integers(expected)
    # An expected value may be any JSON, and pydantic's JSON has NaN: this has not
    plain_document = canonical(body, text)
    _check_finite(expected)
    if spec.migration is not None:
        plain: Any = abridged(body, text)
        spec = replace(spec, migration=with_preset(spec.migration, plain["migration"]))
    return Scenario(spec, plain_document)


def _expected_in(spec: model.Scenario) -> dict[str, object]:
    """Return what is expected, by field."""
    bodies = {f"steps.{at}.expect.body": step.expect.body for at, step in enumerate(spec.steps)}
    return {**bodies, "expect": spec.expect}


def _check_integers(expected: Mapping[str, object]) -> None:
    """Refuse what a response can neither be nor repeat: integers beyond 64 bits."""
    for field, value in expected.items():
        try:
            orjson.dumps(value)
        except orjson.JSONEncodeError:
            raise SenselessScenarioError(
                f"{field} must have no integer beyond 64 bits: no answer has one",
                field=field,
                bound=(1 << 64) - 1,
            ) from None


def _check_finite(expected: Mapping[str, object]) -> None:
    """Refuse numbers beyond doubles, such as 1e400, of which orjson makes null."""
    for field, value in expected.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise SenselessScenarioError(
                f"{field} must have no number beyond {MAX_FLOAT}: no answer has one",
                field=field,
                bound=MAX_FLOAT,
            ) from None


async def apply(
    fleet: Fleet, session: Session, scenario: Scenario
) -> tuple[StandingScenario, bool]:
    """Apply a scenario to a session and play its steps; do nothing if the document is the same.

    The session is reset first; a refusal comes before that, unless the session is reset or deleted by
    another call meanwhile. Return whether this call applied it, too.
    """
    # A caller that disconnects must not leave half a session
    return await fleet.background.to_the_end(_apply(fleet, session, scenario))


async def _apply(
    fleet: Fleet, session: Session, scenario: Scenario
) -> tuple[StandingScenario, bool]:
    async with session.scenario_lock:
        session = fleet.successor(session)
        standing = session.scenario
        if standing is not None and standing.document == scenario.document:
            return standing, False
        _check_keys(scenario.spec)
        account = Account(fleet.budget)
        account.hold(len(scenario.document))
        try:
            specs = [_in_session(vm, session.session_id) for vm in scenario.spec.vms]
            session, removed_vms = await fleet.replace_vms(session, specs)
        except BaseException:
            account.close()
            raise
        vms = session.vms.values()
        keyed = dict(zip((vm.key for vm in scenario.spec.vms), vms, strict=True))
        vm_ids = {key: vm.vm_id for key, vm in keyed.items()}
        standing = StandingScenario(
            scenario.spec.scenario, scenario.document, account, removed_vms, vm_ids
        )
        session.scenario = standing
        try:
            await _Play(fleet, session, standing, keyed, len(scenario.document)).all_of(scenario)
        finally:
            standing.play_is_over.set()
        return standing, True


def _in_session(vm: model.ScenarioVm, session_id: str) -> model.CreateVm:
    shared = {each.name: getattr(vm, each.name) for each in fields(model.VmSpec)}
    return model.CreateVm(session_id=session_id, **shared)


def _check_keys(spec: model.Scenario) -> None:
    keys: set[str] = set()
    for index, vm in enumerate(spec.vms):
        if vm.key in keys:
            detail = "two VMs of a scenario must not have one key"
            raise SenselessScenarioError(detail, field=f"vms.{index}.key", value=vm.key)
        keys.add(vm.key)
    named = {f"steps.{index}.vm": step.vm for index, step in enumerate(spec.steps)}
    if spec.migration is not None:
        named["migration.vm"] = spec.migration.vm
    for field, key in named.items():
        if key not in keys:
            detail = "the scenario must have a VM of this key"
            raise SenselessScenarioError(
                detail, field=field, bound=", ".join(sorted(keys)), value=key
            )
    if spec.migration is None and spec.expect is not None:
        raise SenselessScenarioError(
            "expect is about a migration, and the scenario has none", field="expect"
        )


@dataclass(slots=True, eq=False)
class _Play:
    """The player of the steps of a scenario that has just been applied."""

    fleet: Fleet
    session: Session
    standing: StandingScenario
    vms: Mapping[str, Vm]
    held_bytes: int

    async def all_of(self, scenario: Scenario) -> None:
        """Play the steps up to the first that fails, and start the migration if none does."""
        is_failed = False
        for number, step in enumerate(scenario.spec.steps):
            outcome = StepOutcome(
                step=number,
                vm=step.vm,
                op=step.action.action.op,
                verdict=StepVerdict.SKIPPED,
                status=None,
                body=None,
                mismatches=(),
            )
            if not is_failed:
                outcome = await self._perform(step, outcome)
                is_failed = outcome.verdict is StepVerdict.FAILED
            self.standing.steps.append(outcome)
            await asyncio.sleep(0)  # short steps run on the event loop: let others run
            self.fleet.check_current(self.session)
        if not is_failed and (migration := scenario.spec.migration) is not None:
            await self._begin(migration)
            self.fleet.check_current(self.session)
        self.standing.is_done = True

    async def _begin(self, migration: model.ScenarioMigration) -> None:
        vm = self.vms[migration.vm]
        try:
            self._check(vm)
            prepared = await prepare(vm.runtime, migration)
            self._check(vm)  # that took time
            self.standing.migration = self.fleet.migrations.start(
                vm.session_id, vm.vm_id, vm.runtime, prepared, pace_ms=migration.pace_ms
            )
        except KvmError as refused:
            site = Site("/v1/migrations", body_pointer="/migration")
            self.standing.refused = document(refused, site)

    async def _perform(self, step: model.ScenarioStep, skipped: StepOutcome) -> StepOutcome:
        """Perform a step and judge its response."""
        vm, batched = self.vms[step.vm], step.action

        def answer_and_write() -> tuple[int, bytes]:
            # Before the action: the pages that a get takes must not be lost with its answer
            self._make_room(most_bytes_of(vm, batched))
            answer = perform_now(vm, batched.action, batched.format)
            return answer.status, answer.octets()

        try:
            self._check(vm)
            status, octets = await vm.runtime.run(
                answer_and_write, work=lambda: work_of_batch(vm, (batched,))
            )
            self.held_bytes += len(octets)
        except KvmError as refused:
            pointer = f"/steps/{skipped.step}/action"
            site = Site(f"/v1/vms/{vm.vm_id}/batch", batched.action.ioctl, body_pointer=pointer)
            problem = document(refused, site)
            status, octets = problem.status, write(problem)
        finally:
            self.standing.account.hold(self.held_bytes)
        if len(octets) > THREAD_BYTES:
            found = await asyncio.to_thread(_judge_long, step.expect, status, octets)
        else:
            found = judge(step.expect, status, orjson.loads(octets))
        return replace(
            skipped,
            verdict=StepVerdict.FAILED if found else StepVerdict.PASSED,
            status=status,
            body=None if octets == b"null" else Written(octets),
            mismatches=tuple(found),
        )

    def _make_room(self, most_bytes: int) -> None:
        """Hold the bytes that a response may have; refuse it if the responses may grow too large."""
        wanted_bytes = self.held_bytes + most_bytes
        check_answer(wanted_bytes, "the scenario and its answers, with that of this step,")
        self.standing.account.hold(wanted_bytes)

    def _check(self, vm: Vm) -> None:
        """Refuse a step whose VM has been deleted meanwhile."""
        if self.fleet.vm(vm.vm_id) is not vm:
            raise NoSuchVmError("there is no such VM any more", field="vm", value=vm.vm_id)


def judge(expect: model.StepExpect, status: int, body: Mapping[str, Any] | None) -> list[Mismatch]:
    """Compare a response with the expected one; without an expected status, fail a refusal."""
    given = {"status": expect.status, "body": expect.body}
    expected = {name: value for name, value in given.items() if value is not None}
    found = mismatches(expected, {"status": status, "body": body})
    if "status" in expected or status < FIRST_REFUSAL:
        return found
    detail = "must be no refusal"
    return [Mismatch(pointer="/status", detail=detail, expected=None, found=status), *found]


def _judge_long(expect: model.StepExpect, status: int, octets: bytes) -> list[Mismatch]:
    """Judge a long response: decode what is expected of it, and repeat nothing that may be long."""
    body = {}
    if expect.body:
        body = _fields_of(octets, expect.body)
    return [
        replace(each, found=None) if isinstance(each.found, str | list | dict) else each
        for each in judge(expect, status, body)
    ]


def standing_in(fleet: Fleet, session_id: str) -> StandingScenario:
    """Return the whole session's scenario, which it must have."""
    standing = fleet.session(session_id).scenario
    if standing is None:
        raise NoSuchScenarioError("the session has no scenario")
    return standing


def _fields_of(text: bytes, names: Container[str]) -> dict[str, Any]:
    """Decode some fields of an object, and no others."""
    return {name: decode(text, part) for name, part in members(text, whole(text)) if name in names}


_JUDGED: Final = frozenset({"scenario", "expect"})
"""The fields of a document that its outcome needs."""


def scenario_outcome(session_id: str, standing: StandingScenario) -> model.ScenarioOutcome:
    """Return a scenario and its outcome so far; a migration is expected to complete."""
    plain = _fields_of(standing.document, _JUDGED)
    migration = standing.migration
    # First, so that the report is the final one
    is_over = migration is None or migration.run.is_over
    report = None if migration is None else migration.info()
    found: tuple[Mismatch, ...] = ()
    if report is not None and is_over:
        expected = {"status": MigrationStatus.COMPLETED.value, **(plain.get("expect") or {})}
        found = tuple(mismatches(expected, to_plain(report)))
    if standing.has_failed or standing.refused is not None:
        verdict = Verdict.FAILED
    elif not (standing.is_done and is_over):
        verdict = Verdict.RUNNING
    else:
        verdict = Verdict.FAILED if found else Verdict.PASSED
    return model.ScenarioOutcome(
        session_id=session_id,
        scenario=plain["scenario"],
        verdict=verdict,
        removed_vms=standing.removed_vms,
        vms=tuple(
            model.VmOfScenario(key=key, vm_id=vm_id) for key, vm_id in standing.vm_ids.items()
        ),
        steps=tuple(standing.steps),
        migration=report,
        problem=standing.refused,
        mismatches=found,
        document=Written(standing.document),
    )


def reported_outcome(session_id: str, standing: StandingScenario) -> model.ScenarioOutcome:
    """Return the same with the document decoded; a long one without its VMs and steps."""
    text = standing.document
    is_long = len(text) > MAX_BODY_BYTES
    document: Any = _fields_of(text, _ABOUT) if is_long else decode(text, whole(text))
    return replace(scenario_outcome(session_id, standing), document=document)


_ABOUT: Final = ("scenario", "description", "seen_in")
"""The fields of a document that a report has however long the others are."""


@cache
def builtin() -> tuple[model.BuiltinScenario, ...]:
    """List the builtin scenarios by name; they are read once."""
    documents = map(load, names())
    return tuple(
        model.BuiltinScenario(document=plain, **{name: plain[name] for name in _ABOUT})
        for plain in documents
    )


def find_builtin(name: str) -> model.BuiltinScenario:
    """Return a builtin scenario by its name, which one must have."""
    for each in builtin():
        if each.scenario == name:
            return each
    raise NoSuchScenarioError("no builtin scenario has this name", field="name", value=name)
