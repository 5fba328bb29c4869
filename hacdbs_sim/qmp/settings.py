"""The capabilities and parameters of migrations, with QEMU 10's names, defaults and bounds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hacdbs_sim.qmp.arguments import Boolean, Enumeration, Kind, StringOrNull, Struct, Unsigned
from hacdbs_sim.qmp.errors import QmpError

CAPABILITIES: Final = (
    "xbzrle",
    "rdma-pin-all",
    "auto-converge",
    "zero-blocks",
    "events",
    "postcopy-ram",
    "x-colo",
    "release-ram",
    "return-path",
    "pause-before-switchover",
    "multifd",
    "dirty-bitmaps",
    "postcopy-blocktime",
    "late-block-activate",
    "x-ignore-shared",
    "validate-uuid",
    "background-snapshot",
    "zero-copy-send",
    "postcopy-preempt",
    "switchover-ack",
    "dirty-limit",
    "mapped-ram",
)
SIMULATED: Final = frozenset(
    {"auto-converge", "events", "pause-before-switchover", "postcopy-ram", "return-path"}
)
"""The capabilities that can be set."""

Check = Callable[[int, Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of migrations.

    Attributes:
        kind: Its type.
        default: What it is at first.
        is_good: Whether a value is in its bounds, with the others as they would be.
        bounds: QEMU's words for them, behind the parameter's name.
        name: The name in that sentence; None: its own, with underscores.
    """

    kind: Kind
    default: Any
    is_good: Check | None = None
    bounds: str = ""
    name: str | None = None

    def check(self, name: str, values: Mapping[str, Any]) -> None:
        """Refuse a value that is out of bounds.

        Raises:
            QmpError: It is.
        """
        if self.is_good is not None and not self.is_good(values[name], values):
            shown = self.name or name.replace("-", "_")
            raise QmpError(f"Parameter '{shown}' {self.bounds}")


def _within(low: int, high: int) -> Check:
    return lambda value, _: low <= value <= high


def _percent(default: int) -> Parameter:
    bounds = "expects an integer in the range of 1 to 99"
    return Parameter(Unsigned(8), default, _within(1, 99), bounds)


def _between(
    bits: int, default: int, low: int, high: int, shown_low: int | None = None
) -> Parameter:
    shown = low if shown_low is None else shown_low
    bounds = f"expects a value between {shown} and {high}"
    return Parameter(Unsigned(bits), default, _within(low, high), bounds)


def _is_power_of_two(value: int, _: Mapping[str, Any]) -> bool:
    return value >= 4096 and not value & (value - 1)


PARAMETERS: Final[dict[str, Parameter]] = {
    "announce-initial": _between(64, 50, 0, 100_000),
    "announce-max": _between(64, 550, 0, 100_000),
    "announce-rounds": _between(64, 5, 0, 1_000),
    "announce-step": _between(64, 100, 1, 10_000, shown_low=0),
    "throttle-trigger-threshold": Parameter(
        Unsigned(8), 50, _within(1, 100), "expects an integer in the range of 1 to 100"
    ),
    "cpu-throttle-initial": _percent(20),
    "cpu-throttle-increment": _percent(10),
    "cpu-throttle-tailslow": Parameter(Boolean(), default=False),
    "tls-creds": Parameter(StringOrNull(), ""),
    "tls-hostname": Parameter(StringOrNull(), ""),
    "tls-authz": Parameter(StringOrNull(), ""),
    "max-bandwidth": Parameter(Unsigned(), 128 << 20),
    "avail-switchover-bandwidth": Parameter(Unsigned(), 0),
    "downtime-limit": Parameter(
        Unsigned(),
        300,
        _within(0, 2_000_000),
        "expects an integer in the range of 0 to (2000 * 1000) ms",
    ),
    "x-checkpoint-delay": Parameter(Unsigned(32), 20_000),
    "multifd-channels": _between(8, 2, 1, 255),
    "xbzrle-cache-size": Parameter(
        Unsigned(),
        64 << 20,
        _is_power_of_two,
        "expects a power of two no less than the target page size",
    ),
    "max-postcopy-bandwidth": Parameter(Unsigned(), 0),
    "max-cpu-throttle": Parameter(
        Unsigned(8),
        99,
        lambda value, values: values["cpu-throttle-initial"] <= value <= 99,
        "expects an integer in the range of cpu_throttle_initial to 99",
    ),
    "multifd-compression": Parameter(Enumeration(("none", "zlib", "zstd")), "none"),
    "multifd-zlib-level": _between(8, 1, 0, 9),
    "multifd-qatzip-level": _between(8, 1, 1, 9),
    "multifd-zstd-level": _between(8, 1, 0, 20),
    "x-vcpu-dirty-limit-period": Parameter(
        Unsigned(),
        1_000,
        _within(1, 1_000),
        "expects a value between 1 and 1000",
        "x-vcpu-dirty-limit-period",
    ),
    "vcpu-dirty-limit": Parameter(
        Unsigned(), 1, lambda value, _: value >= 1, "must be greater than 1 MB/s"
    ),
    "mode": Parameter(Enumeration(("normal", "cpr-reboot", "cpr-transfer")), "normal"),
    "zero-page-detection": Parameter(Enumeration(("none", "legacy", "multifd")), "multifd"),
    "direct-io": Parameter(Boolean(), default=False),
}
"""All that QEMU 10 lists; most have no effect, and are returned as they were set."""

PARAMETERS_KIND: Final = Struct(optional={name: each.kind for name, each in PARAMETERS.items()})


class Settings:
    """The capabilities and parameters of one side.

    Attributes:
        capabilities: Whether each is set.
        parameters: The value of each.
    """

    def __init__(self) -> None:
        self.capabilities = dict.fromkeys(CAPABILITIES, False)
        self.parameters: dict[str, Any] = {name: each.default for name, each in PARAMETERS.items()}

    def set_capabilities(self, wanted: Mapping[str, bool]) -> None:
        """Set capabilities: all, or none.

        Raises:
            QmpError: One is not simulated.
        """
        after = {**self.capabilities, **wanted}
        for name, state in wanted.items():
            if not state or name in SIMULATED:
                continue
            if name == "dirty-limit" and after["auto-converge"]:
                raise QmpError(
                    "dirty-limit conflicts with auto-converge either of then available currently"
                )
            if name == "dirty-limit":
                raise QmpError(
                    "dirty-limit requires KVM with accelerator property 'dirty-ring-size' set"
                )
            raise QmpError(f"Capability '{name}' is not simulated")
        self.capabilities = after

    def set_parameters(self, wanted: Mapping[str, Any]) -> None:
        """Set parameters: all, or none.

        Raises:
            QmpError: One is out of its bounds.
        """
        after = {**self.parameters, **wanted}
        for name in wanted:
            PARAMETERS[name].check(name, after)
        self.parameters = after
