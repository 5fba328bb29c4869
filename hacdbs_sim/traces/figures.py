"""The figures of a recording."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.traces.recording import Recording


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a recording.

    Attributes:
        distinct_pages: Pages written at all.
        records: Pages of all intervals together.
        span_pages: Pages from the lowest to the highest virtual address, both included.
        least: Pages of the interval that writes the fewest; `median`, `mean` and `most` likewise.
        written_once: Pages that only one interval writes.
        hottest: The ten pages of the most intervals: dense number, virtual page number, intervals.
    """

    intervals: int
    page_size: int
    instructions_per_interval: int | None
    interval_ns: int | None
    distinct_pages: int
    records: int
    span_pages: int
    least: int
    median: float
    mean: float
    most: int
    written_once: int
    hottest: tuple[tuple[int, int, int], ...]


def figures_of(recording: Recording) -> Figures:
    """Compute the figures."""
    lengths, vpage = recording.lengths, recording.vpage
    written = intervals_of_pages(recording)
    hottest = np.argsort(-written, kind="stable")[:10]
    return Figures(
        intervals=recording.intervals,
        page_size=recording.page_size,
        instructions_per_interval=recording.instructions_per_interval,
        interval_ns=recording.interval_ns,
        distinct_pages=len(vpage),
        records=len(recording.pages),
        span_pages=int(vpage[-1] - vpage[0]) + 1 if len(vpage) else 0,
        least=int(lengths.min()),
        median=float(np.median(lengths)),
        mean=round(float(lengths.mean()), 1),
        most=int(lengths.max()),
        written_once=int(np.count_nonzero(written == 1)),
        hottest=tuple((int(page), int(vpage[page]), int(written[page])) for page in hottest),
    )


def interval_length(recording: Recording) -> str | None:
    """Return how long an interval is, as text; None if that is not known."""
    if recording.interval_ns is not None:
        return f"{recording.interval_ns / 1e6:g} ms"
    if recording.instructions_per_interval is not None:
        return f"{recording.instructions_per_interval:,} instructions"
    return None


def intervals_of_pages(recording: Recording) -> NDArray[np.int64]:
    """Count for each dense page the intervals that write it."""
    return np.bincount(recording.pages, minlength=len(recording.vpage))


def pages_over_time(recording: Recording, parts: int) -> list[tuple[int, int, float]]:
    """Cut the run into at most `parts`; return each one's first and last interval, and mean pages."""
    edges = np.unique(np.linspace(0, recording.intervals, parts + 1).astype(np.int64)).tolist()
    return [
        (first, end - 1, float(recording.lengths[first:end].mean()))
        for first, end in pairwise(edges)
    ]


def rewritten(recording: Recording) -> list[tuple[int, int, int]]:
    """Count pages by how many intervals write them: from 2**k to 2**(k + 1) - 1, and how many."""
    written = intervals_of_pages(recording)
    powers = (1 << k for k in range(int(written.max(initial=0)).bit_length()))
    return [
        (low, 2 * low - 1, int(np.count_nonzero((written >= low) & (written < 2 * low))))
        for low in powers
    ]
