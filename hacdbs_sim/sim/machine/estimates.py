"""How long an action will take, roughly, so that long ones leave the event loop of a service.

The unit is one word of a dirty bitmap gone through (some 20 ns); a single gfn costs about as much as
four words, since it is sorted and searched.
"""

from typing import Any, Final, Protocol

from hacdbs_sim import model
from hacdbs_sim.model.base import WORK_PER_ACTION
from hacdbs_sim.model.pages import Gfns, PageRanges, PageSet
from hacdbs_sim.model.units import PAGES_PER_WORD
from hacdbs_sim.sim.guest.guest import MAX_SLICES, WRITES_PER_SLICE

WORDS_COPIED: Final = 10
"""Words copied, to memory not yet mapped, in the time that one is processed."""

WORK_PER_GFN: Final = 4
WORK_OF_ZIPF_TABLE: Final = 1 << 17


class Estimated(Protocol):
    """What an estimate needs of a machine."""

    @property
    def config(self) -> model.VmConfig:
        """Its configuration."""
        ...

    @property
    def pages(self) -> int:
        """The pages of all its slots."""
        ...

    def npages(self, slot: int) -> int:
        """Count a slot's pages; 0 where it is absent."""
        ...

    def workloads(self) -> tuple[model.WorkloadInfo, ...]:
        """Return the state of its workloads."""
        ...

    def writes_of_run(self, action: model.RunGuest) -> int:
        """Count the writes that a run makes at most."""
        ...


def estimate_work(  # noqa: PLR0911 - one case an action
    machine: Estimated, action: model.Action[Any]
) -> int:
    """Estimate the work of an action on a machine as it is now."""
    match action:
        case (
            model.GuestWrite()
            | model.GuestRead()
            | model.HostWrite()
            | model.HostUnmap()
            | model.HostDiscard()
            | model.HintFree()
        ):
            return WORK_PER_ACTION + _work_of_pages(machine, action.pages)
        case model.GuestWriteMemory():
            pages = action.pages(machine.config.page_size)
            return WORK_PER_ACTION + _work_of_pages(machine, pages)
        case model.GetDirtyLog() if machine.config.protects_manually:
            return WORK_PER_ACTION + machine.npages(action.slot) // PAGES_PER_WORD // WORDS_COPIED
        case model.GetDirtyLog():
            return work_of_sweep(machine)
        case model.ClearDirtyLog():
            ranges = action.pages.first.size if isinstance(action.pages, PageRanges) else 0
            return work_of_sweep(machine) + WORK_PER_GFN * ranges
        case model.SetMemslot():
            new_pages = action.memory_size // machine.config.page_size
            return WORK_PER_ACTION + max(machine.pages, new_pages) // PAGES_PER_WORD
        case model.DeleteMemslot():
            return work_of_sweep(machine)
        case model.RunGuest():
            return _work_of_run(machine, action)
        case model.AddWorkload():
            return work_of_adding(action)
        case _:
            return WORK_PER_ACTION


def work_of_sweep(machine: Estimated) -> int:
    """Estimate the work of a sweep over a machine's planes."""
    return WORK_PER_ACTION + machine.pages // PAGES_PER_WORD


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


def _work_of_run(machine: Estimated, action: model.RunGuest) -> int:
    writes = machine.writes_of_run(action)
    # Each slice has every workload touch its words: a small batch costs about an action.
    batches = len(machine.workloads()) * min(MAX_SLICES, 1 + writes // WRITES_PER_SLICE)
    return WORK_PER_ACTION * (1 + batches) + WORK_PER_GFN * writes


def _work_of_pages(machine: Estimated, pages: PageSet) -> int:
    if isinstance(pages, Gfns):
        return WORK_PER_GFN * pages.gfns.size
    # A range cannot touch more pages than there are, whatever its length.
    covered = min(float(pages.count.sum(dtype=float)), float(machine.pages))
    return WORK_PER_GFN * pages.first.size + int(covered) // PAGES_PER_WORD
