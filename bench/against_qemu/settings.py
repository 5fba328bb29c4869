"""What is run: the guest, the limits, and the link."""

from dataclasses import dataclass
from typing import Final

from hacdbs_sim.model.units import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """New limits of a migration that runs; None: as before.

    Attributes:
        after_ms: When, since the command to migrate.
        bandwidth: max-bandwidth in bytes a second.
        downtime_limit_ms: downtime-limit.
    """

    after_ms: int
    bandwidth: int | None = None
    downtime_limit_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One migration.

    Attributes:
        name: As `--setting` takes it.
        writes_per_second: Of the guest, to random pages of 128 MiB.
        bandwidth: max-bandwidth in bytes a second; 0: no limit.
        downtime_limit_ms: downtime-limit.
        auto_converge: Whether the guest may be throttled, with QEMU's defaults.
        changes: What is changed on the way.
        link: What the link between the two carries, in bytes a second; None: a unix socket.
    """

    name: str
    writes_per_second: int
    bandwidth: int
    downtime_limit_ms: int
    auto_converge: bool = False
    changes: tuple[Change, ...] = ()
    link: int | None = None


IDLE: Final = Setting(name="idle", writes_per_second=0, bandwidth=0, downtime_limit_ms=300)
"""A guest that does not write, without a limit: how fast a unix socket carries pages here."""

SETTINGS: Final = (
    Setting(name="slow", writes_per_second=1_600, bandwidth=16 * MIB, downtime_limit_ms=100),
    Setting(name="slowest", writes_per_second=200, bandwidth=4 * MIB, downtime_limit_ms=100),
    Setting(name="tight", writes_per_second=1_600, bandwidth=64 * MIB, downtime_limit_ms=20),
    Setting(name="short", writes_per_second=6_400, bandwidth=48 * MIB, downtime_limit_ms=20),
    Setting(name="long", writes_per_second=6_400, bandwidth=40 * MIB, downtime_limit_ms=300),
    Setting(name="busy", writes_per_second=16_000, bandwidth=96 * MIB, downtime_limit_ms=100),
    Setting(name="wide", writes_per_second=16_000, bandwidth=128 * MIB, downtime_limit_ms=20),
    Setting(
        name="throttled",
        writes_per_second=16_000,
        bandwidth=48 * MIB,
        downtime_limit_ms=100,
        auto_converge=True,
    ),
    Setting(
        name="throttled-slow",
        writes_per_second=6_400,
        bandwidth=20 * MIB,
        downtime_limit_ms=300,
        auto_converge=True,
    ),
    Setting(
        name="throttled-long",
        writes_per_second=16_000,
        bandwidth=16 * MIB,
        downtime_limit_ms=300,
        auto_converge=True,
    ),
    Setting(  # a limit that never suffices, raised in steps
        name="raised",
        writes_per_second=6_400,
        bandwidth=32 * MIB,
        downtime_limit_ms=1,
        changes=tuple(
            Change(after_ms=7_000 + 1_000 * step, downtime_limit_ms=100 * step)
            for step in range(1, 5)
        ),
    ),
    Setting(  # slow at first, and then fast enough, from the middle of a window on
        name="released",
        writes_per_second=1_600,
        bandwidth=3_000_000,
        downtime_limit_ms=1,
        changes=(Change(after_ms=5_050, bandwidth=64 * MIB, downtime_limit_ms=100),),
    ),
    Setting(
        name="link", writes_per_second=6_400, bandwidth=0, downtime_limit_ms=100, link=40 * MIB
    ),
)
