"""Stage 2 of a whole VM as runs of pages equal in level and state."""

from dataclasses import replace
from typing import Final

from hacdbs_sim.model import LeafState, Stage2Page, Stage2Run
from hacdbs_sim.sim.arm64.descriptor import STATES
from hacdbs_sim.sim.arm64.regions import stage2_of
from hacdbs_sim.sim.kvm.memslots import Memslot, Memslots

STEP_PAGES: Final = 1 << 22
"""Pages read in one step."""


def read_stage2(slots: Memslots, gfn: int, end_gfn: int, limit: int) -> Stage2Page:
    """Return the leaves of the frames from `gfn` to `end_gfn`, as at most `limit` runs."""
    runs: list[Stage2Run] = []
    while gfn < end_gfn:
        # One run of a step may join the last one, and one more shows where the answer ends.
        for run in _step(slots, gfn, end_gfn, limit - len(runs) + 2):
            last = runs[-1] if runs else None
            if last and (last.level, last.state) == (run.level, run.state):
                runs[-1] = replace(last, count=last.count + run.count)
            elif len(runs) == limit:
                return Stage2Page(runs=tuple(runs), next_gfn=run.gfn)
            else:
                runs.append(run)
            gfn = run.gfn + run.count
    return Stage2Page(runs=tuple(runs), next_gfn=None)


def _step(slots: Memslots, gfn: int, end_gfn: int, most: int) -> list[Stage2Run]:
    """Return the first runs, at most so many, of one slot or of a gap between slots."""
    slot = slots.at_or_after(gfn)
    if slot is None or slot.region.base_gfn > gfn:
        gap_end = end_gfn if slot is None else min(slot.region.base_gfn, end_gfn)
        return [
            Stage2Run(
                gfn=gfn, count=gap_end - gfn, level=None, state=LeafState.UNMAPPED, descriptor=0
            )
        ]
    return _runs_of_slot(slot, gfn, min(end_gfn, slot.region.end_gfn, gfn + STEP_PAGES), most)


def _runs_of_slot(slot: Memslot, gfn: int, end_gfn: int, most: int) -> list[Stage2Run]:
    stage2, base_gfn = stage2_of(slot), slot.region.base_gfn
    starts = stage2.run_starts(gfn - base_gfn, end_gfn - base_gfn, most + 1).tolist()
    ends = [*starts[1:], end_gfn - base_gfn]
    runs = []
    for start, end in list(zip(starts, ends, strict=True))[:most]:
        level, leaf = stage2.leaf(start)
        descriptor = stage2.descriptor(start)
        runs.append(
            Stage2Run(
                gfn=base_gfn + start,
                count=end - start,
                level=level,
                state=STATES[leaf],
                descriptor=descriptor,
            )
        )
    return runs
