"""Stage 2 of a whole VM as runs of pages equal in level and state."""

from dataclasses import replace
from typing import Final

from app.sim.actions import LeafState, Stage2Page, Stage2Run
from app.sim.arm64.descriptor import STATES
from app.sim.arm64.regions import stage2_of
from app.sim.arm64.stage2 import runs_of
from app.sim.kvm.memslots import Memslots

CHUNK_PAGES: Final = 1 << 20
"""Pages that one step expands."""


def look_at_stage2(slots: Memslots, gfn: int, end_gfn: int, limit: int) -> Stage2Page:
    """Tell the leaves of the frames from `gfn` to `end_gfn`, as at most `limit` runs."""
    runs: list[Stage2Run] = []
    while gfn < end_gfn:
        for run in _step(slots, gfn, end_gfn):
            last = runs[-1] if runs else None
            if last and (last.level, last.state) == (run.level, run.state):
                runs[-1] = replace(last, count=last.count + run.count)
            elif len(runs) == limit:
                return Stage2Page(tuple(runs), run.gfn)
            else:
                runs.append(run)
            gfn = run.gfn + run.count
    return Stage2Page(tuple(runs), None)


def _step(slots: Memslots, gfn: int, end_gfn: int) -> list[Stage2Run]:
    """Give the runs of some pages of one slot, or of a gap between slots, from a frame on."""
    near = slots.around(gfn, end_gfn)
    if not near or near[0].region.base_gfn > gfn:
        gap_end = near[0].region.base_gfn if near else end_gfn
        return [Stage2Run(gfn, gap_end - gfn, None, LeafState.UNMAPPED, 0)]
    region, stage2 = near[0].region, stage2_of(near[0])
    first = gfn - region.base_gfn
    count = min(end_gfn, region.end_gfn, gfn + CHUNK_PAGES) - gfn
    levels, leaves = stage2.leaves(first, count)
    return [
        Stage2Run(
            gfn + start,
            length,
            int(levels[start]) or None,
            STATES[int(leaves[start])],
            stage2.descriptor(first + start),
        )
        for start, length in runs_of(levels, leaves)
    ]
