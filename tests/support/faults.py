"""Faults of a type that is known only when a test runs."""

from collections.abc import Mapping
from typing import Any

from hacdbs_sim.model import FAULTS, AddFault, FaultType, when_class


def fault(kind: FaultType, *, when: Mapping[str, Any] | None = None, **fields: Any) -> AddFault:
    """Make a fault of a type; its `when` takes the fields that the type has."""
    return FAULTS[kind](when=when_class(kind)(**(when or {})), **fields)
