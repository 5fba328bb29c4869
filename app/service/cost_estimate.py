"""How long an action will take, roughly, so that long ones leave the event loop.

The unit is one word of a dirty bitmap gone through (some 20 ns here); a single gfn costs about as
much as four words, being sorted and looked up.
"""

from collections.abc import Sequence
from typing import Final

from hacdbs_sim.model.errors import NoSuchMemslotError
from hacdbs_sim.model.units import PAGES_PER_WORD
from hacdbs_sim.sim.guest.running import MAX_SLICES, WRITES_PER_SLICE
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.model import Action, AddWorkload, ClearDirtyLog, GetDirtyLog, Gfns, GuestRead, GuestWrite, HostUnmap, HostWrite, PageRanges, PageSet, RunGuest, SetMemslot, VmConfig, Zipf

INLINE_WORK: Final = 1 << 16
"""Work done on the event loop itself: about a millisecond. More goes to a worker thread."""

WORDS_COPIED: Final = 10
"""So many words are copied, to memory that is not there yet, in the time that one is worked on."""

WORK_PER_GFN: Final = 4
WORK_PER_RANGE: Final = 8
"""What an answer costs for each range that it may list."""

WORK_PER_ACTION: Final = 1 << 10
"""What any action costs beside its pages, decoding and answer included."""

WORK_OF_ZIPF_TABLE: Final = 1 << 17
BYTES_PER_RECORD: Final = 4


def work_of(machine: Machine, action: Action) -> int:  # noqa: PLR0911 - one return an action
    """Estimate the work of an action on a machine as it is now."""
    match action:
        case GuestWrite() | GuestRead() | HostWrite() | HostUnmap():
            return WORK_PER_ACTION + _work_of_pages(machine, action.pages)
        case GetDirtyLog() if machine.config.protects_manually:
            return work_of_copy(machine, action.slot)
        case GetDirtyLog():
            return work_of_look(machine)
        case ClearDirtyLog():
            ranges = action.pages.first.size if isinstance(action.pages, PageRanges) else 0
            return work_of_look(machine) + WORK_PER_GFN * ranges
        case SetMemslot():
            new_pages = action.memory_size // machine.config.page_size
            return WORK_PER_ACTION + max(machine.pages, new_pages) // PAGES_PER_WORD
        case RunGuest():
            return _work_of_run(machine, action)
        case AddWorkload():
            return _work_of_workload(action)
        case _:
            return WORK_PER_ACTION


def work_of_look(machine: Machine) -> int:
    """Estimate the work of a sweep over a machine's planes."""
    return WORK_PER_ACTION + machine.pages // PAGES_PER_WORD


def work_of_copy(machine: Machine, slot: int) -> int:
    """Estimate the work of copying a slot's log as it is; little where it keeps none."""
    try:
        npages = machine.memslot(slot).npages
    except NoSuchMemslotError:
        npages = 0
    return WORK_PER_ACTION + npages // PAGES_PER_WORD // WORDS_COPIED


def work_of_listing(machine: Machine, slot: int) -> int:
    """Estimate the work of listing a slot's dirty pages as ranges; none where it keeps no log."""
    try:
        return WORK_PER_RANGE * (machine.memslot(slot).dirty_count or 0)
    except NoSuchMemslotError:
        return 0


def work_of_making(
    config: VmConfig,
    memslots: Sequence[SetMemslot],
    others: Sequence[ArmFault | AddWorkload],
) -> int:
    """Estimate the work of making a machine with its slots, faults and workloads."""
    pages = sum(memslot.memory_size for memslot in memslots) // config.page_size
    work = pages // PAGES_PER_WORD + WORK_PER_ACTION * (len(memslots) + len(others))
    return work + sum(
        _work_of_workload(other) for other in others if isinstance(other, AddWorkload)
    )


def _work_of_workload(action: AddWorkload) -> int:
    pattern = action.spec.pattern
    if isinstance(pattern, Zipf):
        return WORK_OF_ZIPF_TABLE
    return WORK_PER_ACTION + WORK_PER_GFN * action.spec.state_bytes // BYTES_PER_RECORD


def _work_of_run(machine: Machine, action: RunGuest) -> int:
    writes = machine.writes_of_run(action)
    # Each slice has every workload touch its words: a small batch costs about an action.
    batches = len(machine.workloads()) * min(MAX_SLICES, 1 + writes // WRITES_PER_SLICE)
    return WORK_PER_ACTION * (1 + batches) + WORK_PER_GFN * writes


def _work_of_pages(machine: Machine, pages: PageSet) -> int:
    if isinstance(pages, Gfns):
        return WORK_PER_GFN * pages.gfns.size
    # A range cannot touch more pages than there are, however long it says it is.
    covered = min(float(pages.count.sum(dtype=float)), float(machine.pages))
    return WORK_PER_GFN * pages.first.size + int(covered) // PAGES_PER_WORD
