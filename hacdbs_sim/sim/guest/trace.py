"""A recorded program's writes, replayed: interval after interval, scaled to or tiled over a window.

A trace has `n` intervals, each a list of pages. The window is cut into `copies` equal parts, and each
copy plays in a part of its own. Copy c begins with interval floor(c * n / copies), as jobs begun at
different times would, unless the trace is not looped: then all begin with the first. In a part of p
pages, page k of a trace that spans s pages is page k, or with `scale` page floor(k * p / s).
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.errors import InvalidWorkloadError

MAX_COPIES: Final = 4096
MAX_RECORDS: Final = 1 << 24
"""Page records of all copies of a trace: 64 MiB of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Which pages are written in each interval.

    Attributes:
        interval_start: int64[n + 1], interval i is pages[interval_start[i]:interval_start[i + 1]].
        pages: uint32[records].
        interval_ns: How long an interval lasts.
        loop: Whether it begins anew at its end; else it writes nothing more.
        copies: How many play side by side.
        scale: Whether it is stretched over its part.
        name: What the trace is known by, None for one given in full.
    """

    interval_start: NDArray[np.int64]
    pages: NDArray[np.uint32]
    interval_ns: int
    loop: bool = True
    copies: int = 1
    scale: bool = False
    name: str | None = None

    @property
    def kind(self) -> Literal["replay", "intervals"]:
        """Value of `replay` for a trace that is known by a name, `intervals` for one given in full."""
        return "intervals" if self.name is None else "replay"

    @property
    def intervals(self) -> int:
        """Number of intervals."""
        return len(self.interval_start) - 1

    @property
    def span(self) -> int:
        """Pages from 0 to the highest one written."""
        return int(self.pages.max()) + 1 if len(self.pages) else 1

    @property
    def state_bytes(self) -> int:
        """Value of what the trace and its copies take."""
        return self.pages.nbytes + 4 * len(self.pages) * self.copies

    def plan(self, num_pages: int) -> "TracePlan":
        """Lay the trace out on a window.

        Raises:
            InvalidWorkloadError: it does not fit, or has too much in it.
        """
        self._check(num_pages)
        part, span = num_pages // self.copies, self.span
        lengths = np.diff(self.interval_start)
        placed = self.pages.astype(np.uint64)
        if self.scale:
            placed = placed * np.uint64(part) // np.uint64(span)
        interval = np.repeat(np.arange(self.intervals), lengths)
        copy = np.arange(self.copies, dtype=np.int64)
        begins = copy * self.intervals // self.copies if self.loop else np.zeros_like(copy)
        when = (interval[None, :] - begins[:, None]) % self.intervals
        where = placed[None, :] + (copy * part).astype(np.uint64)[:, None]
        order = np.argsort(when, axis=None, kind="stable")
        ends = np.cumsum(np.bincount(when.ravel(), minlength=self.intervals))
        return TracePlan(
            pages=where.ravel()[order].astype(np.uint32),
            start=np.concatenate([np.zeros(1, np.int64), ends]),
            interval_ns=self.interval_ns,
            loop=self.loop,
        )

    def _check(self, num_pages: int) -> None:
        bounds = (
            ("interval_ns", self.interval_ns, 1, 10**15),
            ("copies", self.copies, 1, min(MAX_COPIES, num_pages)),
            ("intervals", self.intervals, 1, MAX_RECORDS),
            ("copies", len(self.pages) * self.copies, 0, MAX_RECORDS),
        )
        for field, value, low, high in bounds:
            if not low <= value <= high:
                raise InvalidWorkloadError(
                    f"{field} must keep the trace within {low}..{high}, not {value}",
                    field=field,
                    bound=f"{low}..{high}",
                    value=value,
                )
        part = num_pages // self.copies
        if not self.scale and self.span > part:
            raise InvalidWorkloadError(
                f"the trace spans {self.span} pages, but each of {self.copies} copies in a window of "
                f"{num_pages} pages has {part}: widen num_pages, take fewer copies, or set scale",
                field="num_pages",
                bound=self.span * self.copies,
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
        """Give the pages of `count` writes, from the one numbered `first`."""
        start = first % max(len(self.pages), 1)
        if start + count <= len(self.pages):
            return self.pages[start : start + count].astype(np.uint64)
        return np.take(self.pages, np.arange(start, start + count), mode="wrap").astype(np.uint64)
