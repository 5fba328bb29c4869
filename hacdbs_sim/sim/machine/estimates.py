"""How long an action will take, roughly, so that long ones leave the event loop of a service.

The unit is one word of a dirty bitmap gone through (some 20 ns); a single gfn costs about as much as
four words, since it is sorted and searched.
"""

from typing import Any, Final

from hacdbs_sim import model
from hacdbs_sim.model.base import WORK_PER_ACTION
from hacdbs_sim.model.pages import Bitmap, Gfns, PageRanges, PageSet
from hacdbs_sim.model.units import PAGES_PER_WORD
from hacdbs_sim.sim.guest.guest import MAX_SLICES, WRITES_PER_SLICE

WORDS_COPIED: Final = 10
"""Words copied, to memory not yet mapped, in the time that one is processed."""

WORK_PER_GFN: Final = 4
WORK_OF_ZIPF_TABLE: Final = 1 << 17


def work_of_adding(action: model.AddWorkload) -> int:
    """Estimate the work of adding a workload, to whatever machine."""
    match action:
        case model.AddZipf():
            return WORK_OF_ZIPF_TABLE
        case model.AddIntervals():
            return WORK_PER_ACTION + WORK_PER_GFN * len(action.pages.pages) * (1 + action.copies)
        case model.AddReplay():
            return WORK_OF_ZIPF_TABLE * action.copies
        case _:
            return WORK_PER_ACTION


def least_work(action: model.Action[Any]) -> int:
    """Return what an action takes at least, by its own size: to estimate a long one takes long."""
    pages = getattr(action, "pages", None)
    if isinstance(action, model.AddWorkload):
        return work_of_adding(action)
    if isinstance(action, model.GuestWriteMemory):
        return WORK_PER_GFN * len(action.gpa_ranges)
    if isinstance(pages, Gfns):
        return WORK_PER_GFN * pages.gfns.size
    if isinstance(pages, PageRanges):
        return WORK_PER_GFN * pages.first.size
    return pages.words.size if isinstance(pages, Bitmap) else 0


def work_of_run(writes: int, workloads: int) -> int:
    """Estimate the work of a run of the guest."""
    # Each slice has every workload touch its words: a small batch costs about an action.
    batches = workloads * min(MAX_SLICES, 1 + writes // WRITES_PER_SLICE)
    return WORK_PER_ACTION * (1 + batches) + WORK_PER_GFN * writes


def work_of_accesses(pages: PageSet, present: int) -> int:
    """Estimate the work of accesses to pages, of which so many are present."""
    if isinstance(pages, Gfns):
        return WORK_PER_ACTION + WORK_PER_GFN * pages.gfns.size
    # A range cannot touch more pages than there are, whatever its length.
    covered = min(float(pages.count.sum(dtype=float)), float(present))
    return WORK_PER_ACTION + WORK_PER_GFN * pages.first.size + int(covered) // PAGES_PER_WORD
