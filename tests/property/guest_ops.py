"""The guest's actions as the batch's operations; the others as the vectors write them."""

from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

from hacdbs_sim.model import (
    Action,
    AddIntervals,
    AddWorkload,
    AdvanceClock,
    CostModel,
    DeleteFaults,
    DeleteWorkload,
    DeleteWorkloads,
    GuestWriteMemory,
    HintFree,
    HostDiscard,
    RunGuest,
    TrackVersions,
    VmConfig,
)
from hacdbs_sim.wire import action_to_plain
from tests.conformance.vectors import ops


def body_of(config: VmConfig) -> dict[str, Any]:
    """Write a configuration as the body that makes the VM."""
    body = ops.body_of(replace(config, costs=CostModel()))
    return {**body, "costs": asdict(config.costs)}


def op_of(action: Action[Any]) -> dict[str, Any]:
    """Write an action as JSON values."""
    match action:
        case AddWorkload():
            return {"op": action.op, **_workload_of(action)}
        case GuestWriteMemory() | HostDiscard() | HintFree() | TrackVersions():
            return action_to_plain(action)
        case DeleteWorkload() | DeleteWorkloads() | DeleteFaults() | AdvanceClock() | RunGuest():
            return {"op": action.op, **asdict(action)}
        case _:
            return ops.op_of(action)


def _workload_of(spec: AddWorkload) -> dict[str, Any]:
    given = {**asdict(spec), "kind": spec.kind.value, "writer": spec.writer.value}
    if isinstance(spec, AddIntervals):
        starts, pages = spec.pages.starts.tolist(), spec.pages.pages.tolist()
        given["pages"] = [pages[begin:end] for begin, end in pairwise(starts)]
    return {name: value for name, value in given.items() if value is not None}
