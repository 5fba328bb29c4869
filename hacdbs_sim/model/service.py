"""The service about itself: index, health, version, capabilities, what a problem means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hacdbs_sim.model.base import Model
from hacdbs_sim.model.costs import Knob
from hacdbs_sim.model.kinds import Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Index(Model):
    """Where to go from here."""

    name: str
    """The service's."""
    links: Mapping[str, str]
    """Paths by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(Model):
    """Health; reported without a query of any VM."""

    status: Literal["ok"] = "ok"
    """ok."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version(Model):
    """Which build serves."""

    name: str
    """The service's."""
    version: str
    """Of the package."""
    api: str
    """Of the API."""
    python: str
    """Of the interpreter."""
    instance: str = ""
    """Of this start of the service, as the header `Hacdbs-Instance`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits(Model):
    """How much this service takes on."""

    max_vms: Count
    max_pages_per_vm: Count
    max_state_bytes: Count
    max_body_bytes: Count
    max_batch_bytes: Count
    max_traffic_bytes: Count
    max_faults_per_vm: Count
    max_workloads_per_vm: Count
    max_copies_per_vm: Count
    max_sessions: Count
    max_batch_actions: Count
    max_ranges: Count
    max_idempotency_bytes: Count
    max_idempotency_keys_per_session: Count
    idempotency_seconds: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities(Model):
    """What KVM_CHECK_EXTENSION reports, by capability; block sizes by granule; the limits."""

    extensions: Mapping[str, Count]
    """KVM_CHECK_EXTENSION, by capability."""
    supported_block_sizes: Mapping[str, tuple[Count, ...]]
    """Leaf sizes, by page size."""
    limits: ServiceLimits
    """How much this service takes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModelInfo(Model):
    """All knobs of the cost model."""

    knobs: tuple[Knob, ...]
    """Each knob."""
