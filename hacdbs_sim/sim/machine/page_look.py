"""Pages as the next write to each will find them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.model.words import WORD_BITS, Words
from hacdbs_sim.sim.arm64.regions import stage2_of
from hacdbs_sim.sim.kvm.memslots import Memslot, Memslots

Truths = NDArray[np.bool_]


class PageSights(NamedTuple):
    """Some pages, bool[k] each, in the order of the frames that were asked for.

    Attributes:
        mapped: A page leaf is there.
        writable: It has S2AP[1], so that a write takes no fault.
        dirty: The page is in the log.
    """

    mapped: Truths
    writable: Truths
    dirty: Truths


def slot_of_pages_apart(slots: Memslots, gfns: Words) -> Memslot | None:
    """Give the slot that holds all of some frames, uint64[k], k at least 1, and takes each by itself.

    That is, it logs and has no block leaf: then a write does no more than fault its own page in and
    mark it.
    """
    slot = slots.holding(int(gfns.min()), int(gfns.max()) + 1)
    if slot is None or not slot.is_logging or stage2_of(slot).has_blocks:
        return None
    return slot


def look_at_pages(slots: Memslots, gfns: Words) -> PageSights | None:
    """Look at frames, uint64[k], k at least 1, in any order; None where not each is by itself."""
    slot = slot_of_pages_apart(slots, gfns)
    if slot is None:
        return None
    assert slot.log is not None, "a slot that logs has one"
    stage2, log = stage2_of(slot), slot.log
    pages = gfns - np.uint64(slot.region.base_gfn)
    word, bit = pages // WORD_BITS, pages % WORD_BITS
    mapped, writable, dirty = (
        (plane[word] >> bit & np.uint64(1)).astype(np.bool_)
        for plane in (stage2.mapped, stage2.writable, log.words)
    )
    return PageSights(mapped, writable, dirty)
