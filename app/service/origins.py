"""What a migration or a comparison began with, as bodies of the calls that repeat it."""

import dataclasses
from dataclasses import replace
from typing import Any, Final, TypeVar

from hacdbs_sim import model
from hacdbs_sim.model import (
    FAULTS,
    MAX_ORIGIN_PARTS,
    AddFault,
    AddIntervals,
    FaultFields,
    MigrationSpec,
    VmSpec,
    when_class,
)

from .vm_runtime import VmRuntime

T = TypeVar("T")

_PARTS: Final = ("memslots", "faults", "workloads")


def origin_of(source: VmRuntime, spec: MigrationSpec) -> model.Origin:
    """Return what a migration of a VM that begins now begins with."""
    query = source.query
    fields: dict[str, Any] = {
        "backend": source.capabilities.backend,
        "track_versions": query(model.GetLastVersion()) is not None,
        "memslots": tuple(each.with_flags(each.flags) for each in query(model.ListMemslots())),
        "faults": tuple(map(_armed, query(model.ListFaults()))),
        "workloads": query(model.ListWorkloadSpecs()),
        **query(model.GetConfig()).settings(),
    }
    vm = VmSpec(**fields)
    shown, omitted = _bounded(vm)
    return model.Origin(
        vm=shown,
        migration=_as(MigrationSpec, spec),
        was_used=source.was_used,
        omitted_parts=omitted,
    )


def compared(request: model.StartComparison, variants: tuple[model.Variant, ...]) -> model.Compared:
    """Return what a comparison compares."""
    vm, omitted = _bounded(_as(VmSpec, request.vm))
    migration = _as(MigrationSpec, request.migration)
    return model.Compared(vm=vm, migration=migration, variants=variants, omitted_parts=omitted)


def _as(kind: type[T], value: Any) -> T:  # noqa: ANN401 - of a subclass
    """Return the part of a value that is of a class from which its own is derived."""
    return kind(**{each.name: getattr(value, each.name) for each in dataclasses.fields(kind)})  # type: ignore[arg-type]


def _armed(fault: model.FaultInfo) -> AddFault:
    """Return the action that arms a fault."""
    when = _as(when_class(fault.type), fault.when)
    settings: dict[str, Any] = {"when": when, **vars(_as(FaultFields, fault))}
    return FAULTS[fault.type](**settings)


def _bounded(vm: VmSpec) -> tuple[VmSpec, int]:
    """Drop what takes too much room to be kept with each report; return how many parts that are."""
    kept: dict[str, Any] = {
        part: [each for each in getattr(vm, part) if not isinstance(each, AddIntervals)]
        for part in _PARTS
    }
    kept = {part: tuple(items[:MAX_ORIGIN_PARTS]) for part, items in kept.items()}
    return replace(vm, **kept), sum(len(getattr(vm, part)) - len(kept[part]) for part in _PARTS)
