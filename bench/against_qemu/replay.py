"""A recorded migration, simulated: the same memory, limits and link, and the guest's recorded writes."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.against_qemu import guest
from bench.against_qemu.recording import PAGE_BYTES, Recording, Timeline
from bench.against_qemu.settings import Change
from hacdbs_sim.model import (
    KNOBS,
    AddIntervals,
    AutoConverge,
    CostModel,
    HostWrite,
    LinkSpec,
    MigrationSpec,
    MigrationStatus,
    PageRanges,
    Scheduled,
    ScheduledChange,
    SchedulePoint,
    SetMemslot,
    Timing,
    TrackVersions,
    VmConfig,
    Writer,
)
from hacdbs_sim.model.migrations import DEFAULT_BANDWIDTH, MAX_ITERATIONS
from hacdbs_sim.model.pages import Intervals
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.vmm import LiveMigration

LINK_SPEED: Final = 700_000_000
"""What a unix socket carried on the machine of the recordings that do not say it, in bytes a second."""

INTERVAL_MS: Final = 10
_NS_PER_MS: Final = 1_000_000
_RATE_MS: Final = 500
_REST_MS: Final = 3_000
"""The guest writes on for so long, where our migration ends later, at the rate of its last half second."""

_MEMORY, _ROMS = 1, 2
_AT: Final = (0, guest.BASE, 1 << 30)
"""Where these lie; they are sent in this order, as QEMU sends its blocks of memory."""


def simulate(recording: Recording, timing: Timing = Timing.EXACT) -> Timeline:
    """Simulate a recorded migration; return when what happened.

    Args:
        recording: What QEMU did.
        timing: Whole windows need pages that all take as long: the zero pages below the guest's memory,
            which cost next to nothing, are left out then.
    """
    machine = _machine(recording)
    start_ms = recording.times.passes[0] - recording.setup_ms
    speed = recording.link or recording.link_speed or LINK_SPEED
    limit = recording.bandwidth or max(DEFAULT_BANDWIDTH, speed)
    is_exact = timing is Timing.EXACT
    spec = MigrationSpec(
        bandwidth_bytes_per_second=limit,
        downtime_limit_ns=recording.downtime_limit_ms * _NS_PER_MS,
        link=LinkSpec(bytes_per_second=speed),
        auto_converge=AutoConverge() if recording.auto_converge else None,
        device_state_bytes=recording.device_bytes,
        zero_pages=is_exact,
        slots=None if is_exact else (_MEMORY, _ROMS),
        max_iterations=MAX_ITERATIONS,
        schedule=tuple(_scheduled(change, start_ms) for change in recording.changes),
        timing=timing,
    )
    report = LiveMigration(machine, spec).run()
    assert report.status is MigrationStatus.COMPLETED, report.reason
    passes = [start_ms + each.started_ns / _NS_PER_MS for each in report.iterations]
    return Timeline(tuple(passes), passes[-1], start_ms + report.now_ns / _NS_PER_MS)


def _scheduled(change: Change, start_ms: float) -> Scheduled:
    limit_ms = change.downtime_limit_ms
    return Scheduled(
        at=SchedulePoint(ns=round((change.after_ms - start_ms) * _NS_PER_MS)),
        set=ScheduledChange(
            bandwidth_bytes_per_second=change.bandwidth,
            downtime_limit_ns=None if limit_ms is None else limit_ms * _NS_PER_MS,
        ),
    )


def _machine(recording: Recording) -> Machine:
    """Make the machine: what lies below the guest's memory, that memory, none of it zero, and ROMs."""
    # All that happens in it is free, but for the setup
    free = {knob.name: 0 for knob in KNOBS}
    free["enable_initially_set_page_ps"] = recording.setup_ms * 10**9 // recording.total_pages
    machine = Machine(VmConfig(manual_dirty_log_protect2=3, costs=CostModel(**free)))
    machine.perform(TrackVersions(enabled=True))
    below = guest.BASE // PAGE_BYTES
    sizes = (below, guest.PAGES, recording.total_pages - below - guest.PAGES)
    for slot, (at, pages) in enumerate(zip(_AT, sizes, strict=True)):
        memory_size = pages * PAGE_BYTES
        machine.perform(SetMemslot(slot=slot, guest_phys_addr=at, memory_size=memory_size))
    not_zero = recording.total_pages - recording.zero_pages - guest.PAGES
    for slot, count in ((_MEMORY, guest.PAGES), (_ROMS, min(max(not_zero, 0), sizes[_ROMS]))):
        if count:
            first, counts = np.array([[_AT[slot] // PAGE_BYTES], [count]], np.uint64)
            machine.perform(HostWrite(pages=PageRanges(first, counts)))
    for slot, writes in _writes(recording).items():
        machine.perform(
            AddIntervals(
                slot=slot,
                writer=Writer.HOST,
                interval_ns=INTERVAL_MS * _NS_PER_MS,
                loop=False,
                pages=writes,
            )
        )
    return machine


def _writes(recording: Recording) -> dict[int, Intervals]:
    """Return what the guest wrote in each interval since the simulation's start, by slot."""
    start_ms = recording.times.passes[0] - recording.setup_ms
    intervals = int((recording.times.completed - start_ms + _REST_MS) // INTERVAL_MS) + 1
    ends_ms = start_ms + np.arange(intervals + 1, dtype=np.float64) * INTERVAL_MS
    counts = np.floor(_counts_at(recording, ends_ms)).astype(np.int64)
    starts = counts - counts[0]
    if not recording.is_our_guest:
        pages = np.random.default_rng(1).integers(0, guest.PAGES, starts[-1])
        return {_MEMORY: Intervals(starts, pages.astype(np.uint32))}
    ticks = np.arange(intervals + 1, dtype=np.int64)
    return {
        _MEMORY: Intervals(starts, guest.written(int(counts[0]), int(counts[-1]))),
        _ROMS: Intervals(ticks, np.zeros(intervals, np.uint32)),  # for the page of the stack
    }


def _counts_at(recording: Recording, at_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often the guest had written by these times; after its last report, at its last rate."""
    reported_ms, writes = recording.report_ms, recording.writes
    last_ms, last = reported_ms[-1], writes[-1]
    before = np.searchsorted(reported_ms, last_ms - _RATE_MS)
    rate = (last - writes[before]) / max(last_ms - reported_ms[before], 1.0)
    counts = np.interp(at_ms, reported_ms, writes)
    return np.asarray(counts + np.maximum(at_ms - last_ms, 0.0) * rate)
