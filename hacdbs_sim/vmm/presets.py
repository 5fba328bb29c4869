"""Migrations that are known to end in a certain way on the VM that goes with them.

Both parts are as the API takes them: the fields of a migration, and a VM to make for it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from hacdbs_sim.model.migrations import Preset


def _vm(writes_per_second: int) -> dict[str, Any]:
    return {
        "manual_dirty_log_protect2": 3,
        "seed": 7,
        "memslots": [{"slot": 0, "guest_phys_addr": "0x40000000", "memory_size": "1GiB"}],
        "workloads": [{"slot": 0, "kind": "uniform", "writes_per_second": writes_per_second}],
    }


_ALL: Final = (
    Preset(
        preset="converges",
        description="1 GiB over 10 Gbit/s, 50,000 writes a second to any page: each pass is about a seventh of"
        " the one before, and the guest is paused for less than 10 ms.",
        migration={"downtime_limit_ns": 10_000_000, "max_iterations": 30},
        vm=_vm(50_000),
    ),
    Preset(
        preset="never_converges",
        description="1 GiB over 10 Gbit/s, 1,000,000 writes a second to any page: nine pages of ten are dirty"
        " again after each pass, and the migration is cancelled after the tenth.",
        migration={
            "downtime_limit_ns": 100_000_000,
            "max_iterations": 10,
            "timeout_strategy": "cancel",
        },
        vm=_vm(1_000_000),
    ),
)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType({each.preset: each for each in _ALL})
"""The presets, by name."""
