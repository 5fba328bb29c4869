"""Records the order of changes of a fleet, and makes them again, one after the other, on new machines."""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from app.service.fleet import Fleet
from app.service.order import Change
from app.service.vm_runtime import VmRuntime
from hacdbs_sim import model
from hacdbs_sim.model.errors import KvmError
from hacdbs_sim.traces.recording import builtin_intervals
from tests.support.machine import Machine


@dataclass(frozen=True, slots=True)
class Numbered:
    """A change, as the order announced it."""

    session_id: str
    vm_id: str | None
    change: Change


class Recorded:
    """The changes of a fleet by number, with the outcome of each action."""

    def __init__(self, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes: dict[int, Numbered] = {}
        self.outcomes: dict[int, object] = {}
        self._fleet = fleet
        self._here = threading.local()
        fleet.order.watch(self._record)
        monkeypatch.setattr(VmRuntime, "perform", self._recording(VmRuntime.perform))

    def _record(self, number: int, session_id: str, vm_id: str | None, change: Change) -> None:
        assert number not in self.changes
        self.changes[number] = Numbered(session_id, vm_id, change)
        self._here.number = number

    def _recording(self, perform: Any) -> Any:
        def recording(runtime: VmRuntime, action: model.Action[Any]) -> Any:
            self._here.number = None
            try:
                outcome = perform(runtime, action)
            except KvmError as refusal:
                self._keep(refusal)
                raise
            self._keep(outcome)
            return outcome

        return recording

    def _keep(self, outcome: object) -> None:
        if self._here.number is not None:
            self.outcomes[self._here.number] = outcome

    def ops(self) -> set[str]:
        """Which kinds of change there were."""
        return {
            each.change if isinstance(each.change, str) else getattr(each.change, "op", "create_vm")
            for each in self.changes.values()
        }

    def assert_replays(self) -> None:
        """Make all changes again by number; outcomes and final states must be the same."""
        assert sorted(self.changes) == list(range(1, len(self.changes) + 1))
        machines: dict[str, Machine] = {}
        sessions = {model.DEFAULT_SESSION}
        for number in sorted(self.changes):
            session_id, vm_id, change = _parts(self.changes[number])
            match change:
                case "create_session":
                    assert session_id not in sessions
                    sessions.add(session_id)
                case "reset_session" | "delete_session":
                    assert session_id in sessions
                    machines = {
                        known: each
                        for known, each in machines.items()
                        if known.rpartition("-")[0] != session_id
                    }
                    if change == "delete_session":
                        sessions.remove(session_id)
                case "delete_vm":
                    del machines[vm_id]
                case model.VmSpec():
                    assert session_id in sessions
                    assert vm_id not in machines
                    machines[vm_id] = made(change)
                case model.Action():
                    again, before = outcome_of(machines[vm_id], change), self.outcomes[number]
                    assert is_same(again, before), (number, vm_id, change, before, again)
                case _:
                    pytest.fail(f"an unknown change: {change}")
        assert sessions == {each.session_id for each in self._fleet.sessions()}
        live = {vm.vm_id: vm.runtime for vm in self._fleet.vms(None)}
        assert sorted(machines) == sorted(live)
        for known, machine in machines.items():
            for query in queries_of(machine):
                assert is_same(machine.query(query), live[known].query(query)), (known, query)


def _parts(numbered: Numbered) -> tuple[str, Any, Change]:
    return numbered.session_id, numbered.vm_id, numbered.change


def made(spec: model.VmSpec) -> Machine:
    """Make a machine with its parts, as the specification says."""
    machine = Machine(model.VmConfig(**spec.settings()), builtin_intervals)
    if spec.track_versions:
        machine.perform(model.TrackVersions(enabled=True))
    for part in (*spec.memslots, *spec.faults, *spec.workloads):
        machine.perform(part)
    return machine


def outcome_of(machine: Machine, action: model.Action[Any]) -> object:
    """Perform an action; a refusal is an outcome as well."""
    try:
        return machine.perform(action)
    except KvmError as refusal:
        return refusal


def is_same(one: object, other: object) -> bool:
    """Compare two outcomes.

    A fault that is disarmed while a call runs may yet be hit by it: what it has counted by then is not
    compared, only what it is. The final count of hits is, in the final states.
    """
    if isinstance(one, KvmError):
        return type(one) is type(other) and str(one) == str(other)
    if isinstance(one, model.FaultInfo):
        return isinstance(other, model.FaultInfo) and one.fault_id == other.fault_id
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)  # type: ignore[arg-type]
    return one == other


def queries_of(machine: Machine) -> list[model.Query[Any]]:
    """Return all queries of a machine's state."""
    slots = [each.slot for each in machine.memslots()]
    logging = [each.slot for each in machine.memslots() if each.dirty_count is not None]
    return [
        model.GetConfig(),
        model.ListMemslots(),
        *(model.PeekDirtyLog(slot=slot) for slot in logging),
        model.ListCpus(),
        model.CountFaultHits(),
        model.ListFaults(),
        model.ListWorkloads(),
        model.GetClock(),
        *(model.CopyVersions(slot=slot) for slot in slots),
        model.GetLastVersion(),
        model.GetStage2(gfn=0, count=None, limit=10_000),
        model.GetCounters(),
        model.GetFootprint(),
        model.GetGenerations(),
    ]
