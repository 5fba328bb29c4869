"""The guest of a machine: its workloads, its clock, and what a run of it does.

A run is cut into equal slices: one, and one more for every `WRITES_PER_SLICE` writes, `MAX_SLICES` at
most. In each, every workload makes the writes that are due by its own time, oldest workload first; what they
cost the guest is owed from the next slice on.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Final, TypeAlias

import numpy as np

from hacdbs_sim.model import (
    MAX_THROTTLE_PERCENT,
    AccessOutcome,
    AddWorkload,
    Clock,
    CostModel,
    GuestRun,
    WorkloadInfo,
    Writer,
    errors,
)
from hacdbs_sim.model.draws import derived_seed
from hacdbs_sim.model.kinds import MAX_NS
from hacdbs_sim.model.pages import Gfns
from hacdbs_sim.sim.guest.clock import MAX_NOW_NS, GuestClock
from hacdbs_sim.sim.guest.workload import (
    Recordings,
    Workload,
    no_recordings,
    recording_of,
    resolved,
)
from hacdbs_sim.sim.kvm.memslots import Memslots

MAX_SLICES: Final = 16
WRITES_PER_SLICE: Final = 1 << 12
MAX_WRITES_PER_RUN: Final = 1 << 26
WRITES_PER_BATCH: Final = 1 << 18
"""Writes performed at once: their arrays stay in the cache."""

WriteBatch: TypeAlias = Callable[[Writer, Gfns], AccessOutcome]
"""Performs a batch of writes on the machine."""


class Guest:
    """The workloads and the clock of one machine."""

    def __init__(
        self,
        *,
        vcpus: int,
        seed: int,
        costs: CostModel,
        recordings: Recordings = no_recordings,
    ) -> None:
        self.clock = GuestClock(vcpus)
        self._seed = seed
        self._costs = costs
        self._recordings = recordings
        self._workloads: dict[str, Workload] = {}
        self._added = 0

    @property
    def state_bytes(self) -> int:
        """Bytes that the workloads hold, traces included."""
        return sum(workload.state_bytes for workload in self._workloads.copy().values())

    def view(self, workload_id: str) -> WorkloadInfo:
        """Return the state of a workload (NoSuchWorkloadError if none has that id)."""
        return self._find(workload_id).view()

    def views(self) -> tuple[WorkloadInfo, ...]:
        """Return the state of all workloads, oldest first."""
        return tuple(workload.view() for workload in self._workloads.copy().values())

    @property
    def workload_count(self) -> int:
        """How many workloads there are."""
        return len(self._workloads)

    def specs(self) -> tuple[AddWorkload, ...]:
        """Return what was added, oldest first."""
        return tuple(workload.spec for workload in self._workloads.copy().values())

    def add(self, spec: AddWorkload, npages: int) -> WorkloadInfo:
        """Add a workload to a slot of `npages` (InvalidWorkloadError if it does not fit there)."""
        ordinal = self._added + 1
        whole = resolved(spec, npages=npages, seed=derived_seed(self._seed, ordinal))
        recording = recording_of(spec, self._recordings)
        workload = Workload(ordinal, whole, recording, self._writer_ns(spec.writer))
        self._workloads[workload.workload_id] = workload
        self._added = ordinal
        return workload.view()

    def remove(self, workload_id: str) -> WorkloadInfo:
        """Remove a workload; return its last state (NoSuchWorkloadError if none has that id)."""
        view = self._find(workload_id).view()
        del self._workloads[workload_id]
        return view

    def remove_all(self) -> None:
        """Remove all workloads."""
        self._workloads.clear()

    def advance(self, duration_ns: int) -> Clock:
        """Let time pass while the guest is paused (InvalidArgumentError past the clock's end)."""
        self._check_duration(duration_ns)
        self.clock.advance(duration_ns)
        return self.clock.view()

    def run(
        self, duration_ns: int, throttle_percent: int, slots: Memslots, write: WriteBatch
    ) -> GuestRun:
        """Let the guest run; nothing changes if it would write more than `MAX_WRITES_PER_RUN`."""
        self._check_duration(duration_ns)
        errors.check_within(
            errors.InvalidArgumentError,
            "throttle_percent",
            throttle_percent,
            0,
            MAX_THROTTLE_PERCENT,
        )
        slices = self._slices(duration_ns, throttle_percent)
        run = _Run(slots, write)
        guest_ns = stalled_ns = throttled_ns = 0
        for at in range(slices):
            begun, end = duration_ns * at // slices, duration_ns * (at + 1) // slices
            done = self.clock.run(end - begun, throttle_percent)
            guest_ns += done.guest_ns
            stalled_ns += done.stalled_ns
            throttled_ns += done.throttled_ns
            for workload in self._workloads.values():
                accesses = run.catch_up(workload, self._writer_ns(workload.spec.writer))
                if workload.spec.writer is Writer.GUEST:
                    self.clock.owe(self._costs.access_ps(accesses))
        return GuestRun(
            clock=self.clock.view(),
            guest_ns=guest_ns,
            stalled_ns=stalled_ns,
            throttled_ns=throttled_ns,
            slices=slices,
            writes=run.writes,
            skipped=run.skipped,
            **{each.name: getattr(run.accesses, each.name) for each in fields(AccessOutcome)},
        )

    def writes_of_run(self, duration_ns: int, throttle_percent: int) -> int:
        """Count the writes that a run makes at most: those it makes if nothing stalls it."""
        ahead_ns = {
            Writer.GUEST: self.clock.awake_ns(duration_ns, throttle_percent),
            Writer.HOST: duration_ns,
        }
        return sum(
            workload.writes_by(
                self._writer_ns(workload.spec.writer) + ahead_ns[workload.spec.writer]
            )
            - workload.writes
            for workload in self._workloads.copy().values()
        )

    def _check_duration(self, duration_ns: int) -> None:
        errors.check_within(
            errors.InvalidArgumentError,
            "duration_ns",
            duration_ns,
            1,
            min(MAX_NS, MAX_NOW_NS - self.clock.now_ns),
        )

    def _slices(self, duration_ns: int, throttle_percent: int) -> int:
        writes = self.writes_of_run(duration_ns, throttle_percent)
        if writes > MAX_WRITES_PER_RUN:
            raise errors.TooManyWritesError(
                f"duration_ns must ask for at most {MAX_WRITES_PER_RUN} writes, {duration_ns} asks "
                f"for up to {writes}: run for less at a time",
                field="duration_ns",
                bound=MAX_WRITES_PER_RUN,
                value=writes,
            )
        return min(MAX_SLICES, 1 + writes // WRITES_PER_SLICE, duration_ns)

    def _find(self, workload_id: str) -> Workload:
        workload = self._workloads.get(workload_id)
        if workload is None:
            raise errors.NoSuchWorkloadError(
                "there is no such workload on the VM", field="workload_id", value=workload_id
            )
        return workload

    def _writer_ns(self, writer: Writer) -> int:
        return self.clock.guest_ns if writer is Writer.GUEST else self.clock.run_ns


class _Run:
    """What the writes of a run add up to."""

    def __init__(self, slots: Memslots, write: WriteBatch) -> None:
        self._slots = slots
        self._write = write
        self.writes = 0
        self.skipped = 0
        self.accesses = AccessOutcome()

    def catch_up(self, workload: Workload, writer_ns: int) -> AccessOutcome:
        """Make the writes that are due by a workload's time."""
        done = AccessOutcome()
        end = workload.writes_by(writer_ns)
        self.writes += end - workload.writes
        while workload.writes < end:
            count = min(end - workload.writes, WRITES_PER_BATCH)
            gfns = self._gfns(workload, count)
            workload.writes += count
            workload.skipped += count - len(gfns)
            self.skipped += count - len(gfns)
            if len(gfns):
                done = added(done, self._write(workload.spec.writer, gfns))
        self.accesses = added(self.accesses, done)
        return done

    def _gfns(self, workload: Workload, count: int) -> Gfns:
        spec = workload.spec
        if spec.slot not in self._slots:
            return Gfns(np.zeros(0, np.uint64))
        region = self._slots.get(spec.slot).region
        pages = workload.pages_of(workload.writes, count)
        pages += np.uint64(spec.first_page)
        if spec.first_page + workload.num_pages > region.npages:
            pages = pages[pages < np.uint64(region.npages)]
        pages += np.uint64(region.base_gfn)
        return Gfns(pages)


def added(one: AccessOutcome, other: AccessOutcome) -> AccessOutcome:
    """Add two outcomes."""
    return AccessOutcome(
        **{
            each.name: getattr(one, each.name) + getattr(other, each.name)
            for each in fields(AccessOutcome)
        }
    )
