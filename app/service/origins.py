"""What a migration or a comparison began with, as bodies of the calls that repeat it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from hacdbs_sim import model
from hacdbs_sim.model import (
    FAULTS,
    MAX_ORIGIN_PARTS,
    AddFault,
    AddIntervals,
    AddWorkload,
    FaultFields,
    MigrationSpec,
    VmSpec,
    when_class,
)

from .vm_runtime import VmRuntime

T = TypeVar("T")


def origin_of(source: VmRuntime, spec: MigrationSpec) -> model.Origin:
    """Return what a migration of a VM that begins now begins with."""
    query = source.query
    memslots, faults = query(model.ListMemslots()), query(model.ListFaults())
    workloads = query(model.ListWorkloadSpecs())
    kept = _kept(workloads)
    fields: dict[str, Any] = {
        "backend": source.capabilities.backend,
        "track_versions": query(model.GetLastVersion()) is not None,
        "memslots": tuple(each.with_flags(each.flags) for each in memslots[:MAX_ORIGIN_PARTS]),
        "faults": tuple(map(_armed, faults[:MAX_ORIGIN_PARTS])),
        "workloads": kept,
        **query(model.GetConfig()).settings(),
    }
    parts = (*fields["memslots"], *fields["faults"], *kept)
    return model.Origin(
        vm=VmSpec(**fields),
        migration=_as(MigrationSpec, spec),
        was_used=source.was_used,
        omitted_parts=len(memslots) + len(faults) + len(workloads) - len(parts),
    )


def compared(request: model.StartComparison, variants: tuple[model.Variant, ...]) -> model.Compared:
    """Return what a comparison compares."""
    vm = _as(VmSpec, request.vm)
    kept: dict[str, Any] = {
        "memslots": vm.memslots[:MAX_ORIGIN_PARTS],
        "faults": vm.faults[:MAX_ORIGIN_PARTS],
        "workloads": _kept(vm.workloads),
    }
    return model.Compared(
        vm=replace(vm, **kept),
        migration=_as(MigrationSpec, request.migration),
        variants=variants,
        omitted_parts=sum(len(getattr(vm, part)) - len(some) for part, some in kept.items()),
    )


def _kept(workloads: Sequence[AddWorkload]) -> tuple[AddWorkload, ...]:
    """Drop what takes too much room to be kept with each report: traces, and more than so many."""
    some = tuple(each for each in workloads if not isinstance(each, AddIntervals))
    return some[:MAX_ORIGIN_PARTS]


def _as(kind: type[T], value: Any) -> T:  # noqa: ANN401 - of a subclass
    """Return the part of a value that is of a class from which its own is derived."""
    return kind(**{each.name: getattr(value, each.name) for each in dataclasses.fields(kind)})  # type: ignore[arg-type]


def _armed(fault: model.FaultInfo) -> AddFault:
    """Return the action that arms a fault."""
    when = _as(when_class(fault.type), fault.when)
    settings: dict[str, Any] = {"when": when, **vars(_as(FaultFields, fault))}
    return FAULTS[fault.type](**settings)
