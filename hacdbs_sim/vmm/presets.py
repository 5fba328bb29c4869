"""Migrations that are known to end in a certain way on the VM that goes with them.

Both parts are as the API takes them: the fields of a migration, and a VM to make for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Preset:
    """A migration and the VM that it is made for.

    Attributes:
        name: What it is called.
        description: What happens, with figures.
        migration: Fields of a migration that differ from the defaults.
        vm: A VM to make, with its workload.
    """

    name: str
    description: str
    migration: Mapping[str, Any]
    vm: Mapping[str, Any]


def _vm(writes_per_second: int) -> dict[str, Any]:
    return {
        "manual_dirty_log_protect2": 3,
        "seed": 7,
        "memslots": [{"slot": 0, "guest_phys_addr": "0x40000000", "memory_size": "1GiB"}],
        "workloads": [{"slot": 0, "kind": "uniform", "writes_per_second": writes_per_second}],
    }


_ALL: Final = (
    Preset(
        "converges",
        "1 GiB over 10 Gbit/s, 50,000 writes a second to any page: each pass is about a seventh of"
        " the one before, and the guest is paused for less than 10 ms.",
        {"downtime_limit_ns": 10_000_000, "max_iterations": 30},
        _vm(50_000),
    ),
    Preset(
        "never_converges",
        "1 GiB over 10 Gbit/s, 1,000,000 writes a second to any page: nine pages of ten are dirty"
        " again after each pass, and the migration is cancelled after the tenth.",
        {"downtime_limit_ns": 100_000_000, "max_iterations": 10, "timeout_strategy": "cancel"},
        _vm(1_000_000),
    ),
)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType({each.name: each for each in _ALL})
"""The presets, by name."""
