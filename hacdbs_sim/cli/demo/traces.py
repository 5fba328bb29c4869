"""Real programs' page writes, and where in the guest they happen.

The recordings are those of `hacdbs_sim.traces`. One VM runs many programs: each keeps the order of its pages and the gaps between its segments, up to a bound, and
gets a part of the slot to itself; a vCPU runs its programs interval by interval.
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
    """Which pages a program wrote in each interval of its run.

    Attributes:
        layout: Where each dense page lies, in pages from the program's first.
    """

    name: str
    recording: Recording
    layout: Pages

    @classmethod
    def load(cls, name: str) -> Self:
        """Read one of those that ship."""
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
        """Pages written in an interval, as places in `layout`; after the last it starts anew."""
        return self.layout[self.recording.written_in(interval % self.intervals)]


def lay_out(vpage: NDArray[np.uint64]) -> Pages:
    """Virtual page numbers, ascending, as offsets from the first with gaps cut to the bound."""
    gaps = np.minimum(np.diff(vpage), np.uint64(MAX_GAP_PAGES)).astype(np.int64)
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(gaps)])


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A trace at its place in the slot, begun at some interval."""

    trace: Trace
    first_page: int
    first_interval: int

    def written_in(self, interval: int) -> Pages:
        """Pages written in an interval, counted from the slot's start."""
        return self.first_page + self.trace.written_in(self.first_interval + interval)


@dataclass(frozen=True, slots=True)
class Guest:
    """What the vCPUs of a VM run, each its own programs."""

    vcpus: tuple[tuple[Program, ...], ...]

    def written_in(self, vcpu: int, intervals: range) -> Pages:
        """Pages that a vCPU writes in some intervals, repeats included, in the order written."""
        return np.concatenate(
            [program.written_in(interval) for interval in intervals for program in self.vcpus[vcpu]]
        )


def populate(npages: int, vcpus: int, rng: np.random.Generator) -> Guest:
    """Spread the programs over a slot: `xz` many times over, and each of the others once.

    The parts are equal and dealt to the programs at random, each program begins at a random page of
    its part, and the copies of `xz` at different intervals, as eight jobs would.
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
    """Intervals after which every program of the guest has run to its end."""
    return max(program.trace.intervals for programs in guest.vcpus for program in programs)
