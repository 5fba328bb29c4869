"""Migrations that QEMU made, and the same ones simulated.

The guest has 128 MiB of memory, filled, and writes a byte to random pages; beside it the machine has 16.5 MiB
that nobody writes. A recording has when QEMU began each pass, stopped the guest and ended, and how many
writes the guest had counted at which time.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from hacdbs_sim.model import (
    KNOBS,
    AddIntervals,
    AutoConverge,
    CostModel,
    HostWrite,
    Intervals,
    LinkSpec,
    MigrationSpec,
    PageRanges,
    SetMemslot,
    Timing,
    TrackVersions,
    VmConfig,
    Writer,
)
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.vmm import LiveMigration

GUEST_PAGES: Final = 32_768
OTHER_PAGES: Final = 4_226
DEVICE_STATE_BYTES: Final = 113_500
MEMORY_BYTES_PER_SECOND: Final = 700_000_000
"""What QEMU writes to a UNIX socket on the machine of the recordings."""

DEFAULT_BANDWIDTH: Final = 134_217_728
"""QEMU's max-bandwidth, where it is not set."""

_PAGE: Final = 4_096
_GUEST_AT: Final = 0x4000_0000
_OTHER_AT: Final = 0x8000_0000
_INTERVAL_MS: Final = 10
_FREE: Final = CostModel(**{knob.name: 0 for knob in KNOBS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """When a migration did what, in milliseconds since it began.

    Attributes:
        pass_ms: The beginning of each pass.
        stop_ms: When the guest was stopped.
        completed_ms: When it had ended.
    """

    pass_ms: tuple[float, ...]
    stop_ms: float
    completed_ms: float

    @property
    def stopped_for_ms(self) -> float:
        """How long the guest stood still."""
        return self.completed_ms - self.stop_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A migration that QEMU made.

    Attributes:
        run: When it did what.
        bandwidth: max-bandwidth.
        downtime_limit_ms: downtime-limit.
        auto_converges: Whether it throttled, with QEMU's defaults.
        link_bytes_per_second: What its connection carried.
        guest_writes: Pairs of a time and how many writes the guest had counted by then.
    """

    run: Run
    bandwidth: int
    downtime_limit_ms: int
    auto_converges: bool
    link_bytes_per_second: int
    guest_writes: tuple[tuple[float, int], ...]


def read_recording(path: Path) -> Recording:
    """Read a recording from its file."""
    found = json.loads(path.read_text())
    parameters = found["parameters"]
    return Recording(
        run=Run(
            pass_ms=tuple(found["pass_ms"]),
            stop_ms=found["stop_ms"],
            completed_ms=found["completed_ms"],
        ),
        bandwidth=parameters["max-bandwidth"] or DEFAULT_BANDWIDTH,
        downtime_limit_ms=parameters["downtime-limit"],
        auto_converges="auto-converge" in found["capabilities"],
        link_bytes_per_second=found.get("link_bytes_per_second", MEMORY_BYTES_PER_SECOND),
        guest_writes=tuple((ms, count) for ms, count in found["guest_writes"]),
    )


def simulate(recording: Recording, *, seed: int = 1, timing: Timing = Timing.WINDOWS) -> Run:
    """Simulate the same migration, with the writes that the guest counted, to pages by a seed."""
    machine = _machine(recording, seed)
    report = LiveMigration(machine, _spec(recording, timing)).run()
    setup_ms = recording.run.pass_ms[0]
    starts = [each.started_ns / 1e6 + setup_ms for each in report.iterations]
    return Run(
        pass_ms=tuple(starts),
        stop_ms=starts[-1],
        completed_ms=report.now_ns / 1e6 + setup_ms,
    )


def worst_percent(run: Run, other: Run) -> float:
    """Return by how much the passes of a run begin earlier or later than the other's, at most.

    The first pass begins with both, and the last is the stop.
    """
    both = list(zip(run.pass_ms, other.pass_ms, strict=False))[1:-1]
    stops = (run.stop_ms, other.stop_ms)
    return max(abs(ours - theirs) / theirs * 100 for ours, theirs in [*both, stops])


def _machine(recording: Recording, seed: int) -> Machine:
    machine = Machine(VmConfig(manual_dirty_log_protect2=3, costs=_FREE))
    machine.perform(TrackVersions(enabled=True))
    machine.perform(SetMemslot(slot=0, guest_phys_addr=_OTHER_AT, memory_size=OTHER_PAGES * _PAGE))
    machine.perform(SetMemslot(slot=1, guest_phys_addr=_GUEST_AT, memory_size=GUEST_PAGES * _PAGE))
    filled = PageRanges(
        np.array([_GUEST_AT // _PAGE], np.uint64), np.array([GUEST_PAGES], np.uint64)
    )
    machine.perform(HostWrite(pages=filled))
    machine.perform(
        AddIntervals(
            slot=1,
            writer=Writer.HOST,
            interval_ns=_INTERVAL_MS * 10**6,
            loop=False,
            pages=_writes(recording, np.random.default_rng(seed)),
        )
    )
    return machine


def _writes(recording: Recording, rng: np.random.Generator) -> Intervals:
    """Spread the counted writes over intervals, from the first pass to after the end."""
    times, counts = np.array(recording.guest_writes, np.float64).T
    begins_ms = recording.run.pass_ms[0]
    ends_ms = recording.run.completed_ms + 2_000
    edges = np.arange(begins_ms, ends_ms + _INTERVAL_MS, _INTERVAL_MS)
    by_then = np.floor(np.interp(edges, times, counts)).astype(np.int64)
    starts = by_then - by_then[0]
    pages = rng.integers(0, GUEST_PAGES, int(starts[-1])).astype(np.uint32)
    return Intervals(starts, pages)


def _spec(recording: Recording, timing: Timing) -> MigrationSpec:
    return MigrationSpec(
        bandwidth_bytes_per_second=recording.bandwidth,
        downtime_limit_ns=recording.downtime_limit_ms * 10**6,
        link=LinkSpec(bytes_per_second=recording.link_bytes_per_second),
        auto_converge=AutoConverge() if recording.auto_converges else None,
        zero_pages=True,
        device_state_bytes=DEVICE_STATE_BYTES,
        max_iterations=1_000,
        timing=timing,
    )
