"""A recorded program's writes, replayed: interval after interval, scaled to or tiled over a window.

A trace has `n` intervals, each a list of pages. The window is cut into `copies` equal parts, and each
copy plays in a part of its own. Copy c begins with interval floor(c * n / copies), as jobs begun at
different times would, unless the trace is not looped: then all begin with the first. In a part of p
pages, page k of a trace that spans s pages is page k, or with `scale` page floor(k * p / s).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.errors import InvalidWorkloadError
from hacdbs_sim.model.pages import Intervals
from hacdbs_sim.model.workloads import MAX_COPIES, TraceFields

MAX_RECORDS: Final = 1 << 24
"""Page records of all copies of a trace: 64 MiB of them."""

BYTES_PER_RECORD: Final = 4


def state_bytes_of(copies: int, recording: Intervals) -> int:
    """Return the bytes that a trace and its copies take on a machine."""
    return recording.pages.nbytes + BYTES_PER_RECORD * len(recording.pages) * copies


def plan_trace(spec: TraceFields, recording: Intervals, num_pages: int) -> "TracePlan":
    """Lay a trace out on a window (InvalidWorkloadError if it does not fit, or is too long)."""
    span = int(recording.pages.max()) + 1 if len(recording.pages) else 1
    intervals = len(recording.starts) - 1
    _check(spec, recording, num_pages, span)
    part = num_pages // spec.copies
    lengths = np.diff(recording.starts)
    placed = recording.pages.astype(np.uint64)
    if spec.scale:
        placed = placed * np.uint64(part) // np.uint64(span)
    interval = np.repeat(np.arange(intervals), lengths)
    copy = np.arange(spec.copies, dtype=np.int64)
    begins = copy * intervals // spec.copies if spec.loop else np.zeros_like(copy)
    when = (interval[None, :] - begins[:, None]) % intervals
    where = placed[None, :] + (copy * part).astype(np.uint64)[:, None]
    order = np.argsort(when, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(when.ravel(), minlength=intervals))
    return TracePlan(
        pages=where.ravel()[order].astype(np.uint32),
        start=np.concatenate([np.zeros(1, np.int64), ends]),
        interval_ns=spec.interval_ns,
        loop=spec.loop,
    )


def _check(spec: TraceFields, recording: Intervals, num_pages: int, span: int) -> None:
    bounds = (
        ("copies", spec.copies, 1, min(MAX_COPIES, num_pages)),
        ("intervals", len(recording.starts) - 1, 1, MAX_RECORDS),
        ("copies", len(recording.pages) * spec.copies, 0, MAX_RECORDS),
    )
    for field, value, low, high in bounds:
        if not low <= value <= high:
            raise InvalidWorkloadError.must(
                field, f"keep the trace within {low}..{high}", value, bound=f"{low}..{high}"
            )
    part = num_pages // spec.copies
    if not spec.scale and span > part:
        raise InvalidWorkloadError(
            f"the trace spans {span} pages, but each of {spec.copies} copies in a window of "
            f"{num_pages} pages has {part}: widen num_pages, take fewer copies, or set scale",
            field="num_pages",
            bound=span * spec.copies,
            value=num_pages,
        )


@dataclass(frozen=True, slots=True, eq=False)
class TracePlan:
    """A trace laid out on a window: all its writes in order, and where each interval begins."""

    pages: NDArray[np.uint32]
    start: NDArray[np.int64]
    interval_ns: int
    loop: bool

    def writes_by(self, time_ns: int) -> int:
        """Count the writes of the first `time_ns`; those of an interval are spread evenly over it."""
        intervals = len(self.start) - 1
        played, into_ns = divmod(time_ns, self.interval_ns)
        loops, interval = divmod(played, intervals)
        if loops and not self.loop:
            return len(self.pages)
        begun, end = int(self.start[interval]), int(self.start[interval + 1])
        within = begun + (end - begun) * into_ns // self.interval_ns
        return loops * len(self.pages) + within

    def pages_of(self, first: int, count: int) -> NDArray[np.uint64]:
        """Return the pages of `count` writes, from the one numbered `first`."""
        start = first % max(len(self.pages), 1)
        if start + count <= len(self.pages):
            return self.pages[start : start + count].astype(np.uint64)
        # Not np.take's mode "wrap": it subtracts the length again and again, quadratic for a short trace
        return self.pages[np.arange(start, start + count) % len(self.pages)].astype(np.uint64)
