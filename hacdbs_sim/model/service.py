"""The service about itself: index, health, version, capabilities, what a problem means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hacdbs_sim.model.base import Model
from hacdbs_sim.model.costs import Knob
from hacdbs_sim.model.kinds import Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Index(Model):
    """Where to go from here.

    Attributes:
        name: The service's.
        links: Paths by name.
    """

    name: str
    links: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health(Model):
    """Health; reported without a query of any VM.

    Attributes:
        status: ok.
    """

    status: Literal["ok"] = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version(Model):
    """Which build serves.

    Attributes:
        name: The service's.
        version: Of the package.
        api: Of the API.
        python: Of the interpreter.
    """

    name: str
    version: str
    api: str
    python: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits(Model):
    """How much this service takes on."""

    max_vms: Count
    max_pages_per_vm: Count
    max_state_bytes: Count
    max_body_bytes: Count
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
    """What KVM_CHECK_EXTENSION reports, by capability; block sizes by granule; the limits.

    Attributes:
        extensions: KVM_CHECK_EXTENSION, by capability.
        supported_block_sizes: Leaf sizes, by page size.
        limits: How much this service takes on.
    """

    extensions: Mapping[str, Count]
    supported_block_sizes: Mapping[str, tuple[Count, ...]]
    limits: ServiceLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModelInfo(Model):
    """All knobs of the cost model.

    Attributes:
        knobs: Each knob.
    """

    knobs: tuple[Knob, ...]
