"""A workload: its writer and rate, its pages of one slot, and its progress.

Its writes are a fixed sequence. By its own time t (ns since it was added, in which its writer ran),
with a burst of on_ns and off_ns,

    t_on   = t                                    without a burst
           = floor(t / (on + off)) * on + min(t mod (on + off), on)    with one
    writes = floor(t_on * writes_per_second / 10**9)

of them have been made; a trace has its own times (`trace.py`). So two runs of 10 ms make the writes
of one of 20 ms, and the same seed makes the same writes.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Final, TypeVar

from hacdbs_sim.model.errors import InvalidWorkloadError, check_within
from hacdbs_sim.model.pages import Intervals
from hacdbs_sim.model.workloads import (
    WORKLOAD_INFOS,
    AddIntervals,
    AddReplay,
    AddWorkload,
    TimedFields,
    TraceFields,
    TraceName,
    WorkloadInfo,
)
from hacdbs_sim.sim.guest.patterns import PagesOf, pages_of
from hacdbs_sim.sim.guest.trace import TracePlan, plan_trace, state_bytes_of

NS_PER_SECOND: Final = 10**9

Recordings = Callable[[TraceName], Intervals]
"""Finds a trace that comes with the service by its name."""

W = TypeVar("W", bound=AddWorkload)


def no_recordings(name: TraceName) -> Intervals:
    """Refuse every name: a machine is given the recordings that it may replay."""
    raise InvalidWorkloadError.must(
        "trace", "be a recording that the machine was given", name, bound="none"
    )


def recording_of(spec: AddWorkload, recordings: Recordings) -> Intervals | None:
    """Return what a trace replays; None for a workload that writes at a rate."""
    match spec:
        case AddIntervals():
            return spec.pages
        case AddReplay():
            return recordings(spec.trace)
        case _:
            return None


def resolved(spec: W, *, npages: int, seed: int) -> W:
    """Fill in what was left open, for a slot of `npages` (InvalidWorkloadError if too large)."""
    check_within(InvalidWorkloadError, "first_page", spec.first_page, 0, npages - 1)
    num_pages = npages - spec.first_page if spec.num_pages is None else spec.num_pages
    check_within(InvalidWorkloadError, "num_pages", num_pages, 1, npages - spec.first_page)
    return replace(spec, num_pages=num_pages, seed=seed if spec.seed is None else spec.seed)


class Workload:
    """A workload on a machine; `began_ns` is its writer's time when it was added."""

    def __init__(
        self, ordinal: int, spec: AddWorkload, recording: Intervals | None, began_ns: int
    ) -> None:
        assert spec.num_pages is not None, "resolved"
        assert spec.seed is not None, "resolved"
        self.workload_id = f"w{ordinal}"
        self.spec = spec
        self.num_pages = spec.num_pages
        self.writes = 0
        self.skipped = 0
        self._began_ns = began_ns
        self._recording = recording
        self._plan: TracePlan | None = None
        self.pages_of: PagesOf
        if recording is None:
            assert isinstance(spec, TimedFields), "what replays nothing writes at a rate"
            self.pages_of = pages_of(spec, spec.seed, spec.num_pages)
        else:
            assert isinstance(spec, TraceFields), "only a trace replays"
            self._plan = plan_trace(spec, recording, spec.num_pages)
            self.pages_of = self._plan.pages_of

    @property
    def state_bytes(self) -> int:
        """Bytes that the workload takes on a machine: a trace, as given and as laid out."""
        if self._recording is None:
            return 0
        assert isinstance(self.spec, TraceFields), "only a trace replays"
        return state_bytes_of(self.spec.copies, self._recording)

    def writes_by(self, writer_ns: int) -> int:
        """Count the writes that it has made once its writer has run for `writer_ns` in all."""
        time_ns = writer_ns - self._began_ns
        burst = self.spec.burst
        on_ns = time_ns if burst is None else burst.time_on(time_ns)
        if self._plan is not None:
            return self._plan.writes_by(on_ns)
        assert isinstance(self.spec, TimedFields), "what replays nothing writes at a rate"
        return on_ns * self.spec.writes_per_second // NS_PER_SECOND

    def view(self) -> WorkloadInfo:
        """Return the state of the workload."""
        spec = self.spec
        given: dict[str, Any] = {
            each.name: getattr(spec, each.name) for each in fields(spec) if each.name != "pages"
        }
        if self._recording is not None:
            given["interval_count"] = len(self._recording.starts) - 1
            given["record_count"] = len(self._recording.pages)
        return WORKLOAD_INFOS[spec.kind](
            workload_id=self.workload_id, writes=self.writes, skipped=self.skipped, **given
        )
