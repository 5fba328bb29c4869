"""QMP's parameters as the settings of a migration of the service."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from hacdbs_sim.model.migrations import MAX_BANDWIDTH, MAX_ITERATIONS, MIN_BANDWIDTH
from hacdbs_sim.qmp.settings import Settings

DEVICE_STATE_BYTES: Final = 113_500
"""What a small machine of QEMU sends beside its memory."""

_NS_PER_MS: Final = 1_000_000

_SETTING_OF: Final = {
    "max-bandwidth": "bandwidth_bytes_per_second",
    "downtime-limit": "downtime_limit_ns",
    "avail-switchover-bandwidth": "switchover_bandwidth_bytes_per_second",
    "cpu-throttle-initial": "auto_converge",
    "cpu-throttle-increment": "auto_converge",
    "max-cpu-throttle": "auto_converge",
    "throttle-trigger-threshold": "auto_converge",
    "cpu-throttle-tailslow": "auto_converge",
}
"""The setting that a parameter is, or is part of."""


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What carries migrations, and how fast they run.

    Attributes:
        bytes_per_second: The link's speed; None: 10 Gbit/s.
        latency_ns: One way.
        pace: Real seconds that a virtual second takes; 0: as fast as possible.
    """

    bytes_per_second: int | None = None
    latency_ns: int = 0
    pace: float = 1.0


def bandwidth_of(octets: int) -> int:
    """Return a bandwidth that the service accepts for one of QMP, where 0 is unlimited."""
    return min(max(octets, MIN_BANDWIDTH), MAX_BANDWIDTH) if octets else MAX_BANDWIDTH


def spec_of(settings: Settings, link: LinkOptions) -> dict[str, Any]:
    """Return the settings of a migration of the service."""
    parameters, capabilities = settings.parameters, settings.capabilities
    postcopy_bandwidth = bandwidth_of(parameters["max-postcopy-bandwidth"])
    available = parameters["avail-switchover-bandwidth"]
    return {
        "bandwidth_bytes_per_second": bandwidth_of(parameters["max-bandwidth"]),
        "downtime_limit_ns": parameters["downtime-limit"] * _NS_PER_MS,
        "switchover_bandwidth_bytes_per_second": bandwidth_of(available) if available else None,
        "auto_converge": {
            "initial": parameters["cpu-throttle-initial"],
            "increment": parameters["cpu-throttle-increment"],
            "max": parameters["max-cpu-throttle"],
            "trigger_threshold": parameters["throttle-trigger-threshold"],
            "tailslow": parameters["cpu-throttle-tailslow"],
        }
        if capabilities["auto-converge"]
        else None,
        "pause_before_switchover": capabilities["pause-before-switchover"],
        "postcopy": {"bandwidth_bytes_per_second": postcopy_bandwidth}
        if capabilities["postcopy-ram"]
        else None,
        "max_iterations": MAX_ITERATIONS,
        "zero_pages": True,
        "device_state_bytes": DEVICE_STATE_BYTES,
        "timing": "exact",
        "link": {"bytes_per_second": link.bytes_per_second, "latency_ns": link.latency_ns},
        "destination": {},
        "pace": link.pace,
    }


def changes_of(spec: dict[str, Any], changed: Iterable[str]) -> dict[str, Any]:
    """Return what to change of a migration that runs, after parameters were set."""
    names = {_SETTING_OF[each] for each in changed if each in _SETTING_OF}
    wanted = {name: spec[name] for name in names if spec[name] is not None}
    if "max-postcopy-bandwidth" in changed and spec["postcopy"] is not None:
        postcopy_bandwidth = spec["postcopy"]["bandwidth_bytes_per_second"]
        wanted["postcopy_bandwidth_bytes_per_second"] = postcopy_bandwidth
    return wanted
