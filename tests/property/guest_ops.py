"""The guest's actions as the batch's operations; the others as the vectors write them."""

from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

from hacdbs_sim.sim.actions import (
    Action,
    AddWorkload,
    AdvanceClock,
    CostModel,
    MachineConfig,
    RemoveWorkload,
    RunGuest,
    Trace,
    WorkloadSpec,
)
from tests.conformance.vectors import ops


def body_of(config: MachineConfig) -> dict[str, Any]:
    """Write a configuration as the body that makes the VM."""
    body = ops.body_of(replace(config, costs=CostModel()))
    return {**body, "costs": asdict(config.costs)}


def op_of(action: Action) -> dict[str, Any]:
    """Write an action as JSON values."""
    match action:
        case AddWorkload(spec):
            return {"op": "add_workload", **_workload_of(spec)}
        case RemoveWorkload(workload_id):
            return {"op": "delete_workload", "workload_id": workload_id}
        case AdvanceClock(duration_ns):
            return {"op": "clock_advance", "duration_ns": duration_ns}
        case RunGuest():
            return {"op": "guest_run", **asdict(action)}
        case _:
            return ops.op_of(action)


def _workload_of(spec: WorkloadSpec) -> dict[str, Any]:
    given = {
        "slot": spec.slot,
        "kind": spec.pattern.kind,
        "writes_per_second": spec.writes_per_second,
        "first_page": spec.first_page,
        "num_pages": spec.num_pages,
        "seed": spec.seed,
        "burst": None if spec.burst is None else asdict(spec.burst),
        "writer": spec.writer.value,
        "vcpu": spec.vcpu,
        **_pattern_of(spec),
    }
    return {name: value for name, value in given.items() if value is not None}


def _pattern_of(spec: WorkloadSpec) -> dict[str, Any]:
    trace = spec.pattern
    if not isinstance(trace, Trace):
        return asdict(trace)
    timing = {name: getattr(trace, name) for name in ("interval_ns", "loop", "copies", "scale")}
    if trace.name is not None:
        return {**timing, "trace": trace.name}
    edges = pairwise(trace.interval_start.tolist())
    return {**timing, "pages": [trace.pages[begin:end].tolist() for begin, end in edges]}
