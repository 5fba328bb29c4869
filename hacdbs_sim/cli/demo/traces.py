"""Page writes of real programs, placed in the guest.

The recordings are those of `hacdbs_sim.traces`. One VM runs many programs, each in a part of the
slot: the order of its pages and the gaps between its segments are kept, the gaps up to a bound. A
vCPU runs its programs interval by interval.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.cli.demo.ledger import Pages
from hacdbs_sim.traces.recording import SHIPPED, Recording, builtin

XZ_COPIES: Final = 8

# 32 MiB: keeps heap, libraries and stack in blocks of their own without 47-bit holes between them
MAX_GAP_PAGES: Final = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A program, started at an interval of its recording; `places` has its pages in the slot."""

    name: str
    recording: Recording
    places: Pages
    first_interval: int = 0

    def written_in(self, interval: int) -> Pages:
        """Return the pages written in an interval; after the last interval comes the first."""
        number = (self.first_interval + interval) % self.recording.intervals
        return self.places[self.recording.written_in(number)]


def written_in(programs: Sequence[Program], intervals: Iterable[int]) -> Pages:
    """Return the pages that a vCPU's programs write in intervals, in order and with repeats."""
    return np.concatenate(
        [each.written_in(interval) for interval in intervals for each in programs]
    )


def lay_out(vpage: NDArray[np.uint64]) -> Pages:
    """Return ascending page numbers as offsets from the first, with gaps cut to the bound."""
    gaps = np.minimum(np.diff(vpage), np.uint64(MAX_GAP_PAGES)).astype(np.int64)
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(gaps)])


def populate(npages: int, vcpus: int, rng: np.random.Generator) -> list[list[Program]]:
    """Place programs in a slot, `xz` several times, each other once; return those of each vCPU.

    The parts are equal and assigned at random; each program begins at a random page of its part,
    and the copies of `xz` at different intervals.
    """
    names = ["xz"] * XZ_COPIES + [name for name in SHIPPED if name != "xz"]
    part = npages // len(names)
    programs = []
    for name, place in zip(names, rng.permutation(len(names)), strict=True):
        recording = builtin(name)
        layout = lay_out(recording.vpage)
        first_page = place * part + rng.integers(part - layout[-1])
        first_interval = int(rng.integers(recording.intervals))
        programs.append(Program(name, recording, first_page + layout, first_interval))
    return [programs[vcpu::vcpus] for vcpu in range(vcpus)]
