"""Page writes of real programs, placed in the guest.

The recordings are those of `hacdbs_sim.traces`. One VM runs many programs, each in a part of the
slot: the order of its pages and the gaps between its segments are kept, the gaps up to a bound. A
vCPU runs its programs interval by interval.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.cli.demo.ledger import Pages
from hacdbs_sim.traces.recording import SHIPPED, Recording, builtin

XZ_COPIES: Final = 8

# 32 MiB: keeps heap, libraries and stack in blocks of their own without 47-bit holes between them
MAX_GAP_PAGES: Final = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """The pages that a program wrote in each interval.

    Attributes:
        layout: Where each dense page lies, in pages from the program's first.
    """

    name: str
    recording: Recording
    layout: Pages

    @classmethod
    def load(cls, name: str) -> Self:
        """Read a builtin trace."""
        recording = builtin(name)
        return cls(name, recording, lay_out(recording.vpage))

    @property
    def intervals(self) -> int:
        """Number of intervals."""
        return self.recording.intervals

    @property
    def span(self) -> int:
        """Pages from the first to the last one, both included."""
        return int(self.layout[-1]) + 1

    def written_in(self, interval: int) -> Pages:
        """Return the pages written in an interval; after the last interval comes the first."""
        return self.layout[self.recording.written_in(interval % self.intervals)]


def lay_out(vpage: NDArray[np.uint64]) -> Pages:
    """Return ascending page numbers as offsets from the first, with gaps cut to the bound."""
    gaps = np.minimum(np.diff(vpage), np.uint64(MAX_GAP_PAGES)).astype(np.int64)
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(gaps)])


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A trace at a page of the slot, started at an interval."""

    trace: Trace
    first_page: int
    first_interval: int

    def written_in(self, interval: int) -> Pages:
        """Return the pages of the slot that are written in an interval."""
        return self.first_page + self.trace.written_in(self.first_interval + interval)


@dataclass(frozen=True, slots=True)
class Guest:
    """The programs of each vCPU."""

    vcpus: tuple[tuple[Program, ...], ...]

    def written_in(self, vcpu: int, intervals: range) -> Pages:
        """Return the pages that a vCPU writes in intervals, in order and with repeats."""
        return np.concatenate(
            [program.written_in(interval) for interval in intervals for program in self.vcpus[vcpu]]
        )


def populate(npages: int, vcpus: int, rng: np.random.Generator) -> Guest:
    """Place the programs in a slot: `xz` several times, and each of the others once.

    The parts are equal and assigned at random; each program begins at a random page of its part,
    and the copies of `xz` at different intervals.
    """
    traces = {name: Trace.load(name) for name in SHIPPED}
    names = ["xz"] * XZ_COPIES + [name for name in SHIPPED if name != "xz"]
    part = npages // len(names)
    parts = rng.permutation(len(names))
    programs = [
        Program(
            traces[name],
            first_page=int(place * part + rng.integers(part - traces[name].span + 1)),
            first_interval=int(rng.integers(traces[name].intervals)),
        )
        for name, place in zip(names, parts, strict=True)
    ]
    return Guest(tuple(tuple(programs[vcpu::vcpus]) for vcpu in range(vcpus)))


def longest(guest: Guest) -> int:
    """Return the intervals after which every program of the guest has ended."""
    return max(program.trace.intervals for programs in guest.vcpus for program in programs)
