"""The service about itself: index, health, version, capabilities."""

from typing import Literal

from typing_extensions import TypedDict

from .base import answer


@answer
class IndexOut(TypedDict):
    """Where to go from here."""

    name: str
    links: dict[str, str]


@answer
class HealthOut(TypedDict):
    """Health; answered without a look at any VM."""

    status: Literal["ok"]


@answer
class VersionOut(TypedDict):
    """Which build serves."""

    name: str
    version: str
    api: str
    python: str


@answer
class LimitsOut(TypedDict):
    """How much this service takes on."""

    max_vms: int
    max_pages_per_vm: int
    max_state_bytes: int
    max_body_bytes: int
    max_faults_per_vm: int
    max_workloads_per_vm: int
    max_sessions: int
    max_batch_actions: int
    max_ranges: int
    max_idempotency_bytes: int
    max_idempotency_keys_per_session: int
    idempotency_seconds: int


@answer
class CapabilitiesOut(TypedDict):
    """What KVM_CHECK_EXTENSION would say, by capability; block sizes by granule; the limits."""

    extensions: dict[str, int]
    supported_block_sizes: dict[str, list[int]]
    limits: LimitsOut
