"""The limits of the fleet: configured and fixed ones."""

from dataclasses import dataclass
from typing import Final

MAX_SESSIONS: Final = 10_000
MAX_IDEMPOTENCY_KEYS_PER_SCOPE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The configured limits of a fleet."""

    max_vms: int = 10_000
    max_pages_per_vm: int = 1 << 29
    max_state_bytes: int = 4 << 30
    max_traffic_bytes: int = 2 << 30
    max_idempotency_bytes: int = 512 << 20
    idempotency_seconds: int = 3600
