"""Pages as the next write to each will find them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.sim.arm64.regions import stage2_of
from app.sim.base.words import WORD_BITS, Words
from app.sim.kvm.memslots import Memslots

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


def look_at_pages(slots: Memslots, gfns: Words) -> PageSights | None:
    """Look at frames, uint64[k], k at least 1, in any order.

    Returns:
        None where a write could do more than fault its own page in and mark it: unless one slot holds
        all, and it logs and has no block leaf.
    """
    slot = slots.holding(int(gfns.min()), int(gfns.max()) + 1)
    if slot is None or slot.log is None or not slot.is_logging:
        return None
    stage2 = stage2_of(slot)
    if stage2.has_blocks:
        return None
    pages = gfns - np.uint64(slot.region.base_gfn)
    word, bit = pages // WORD_BITS, pages % WORD_BITS
    mapped, writable, dirty = (
        (plane[word] >> bit & np.uint64(1)).astype(np.bool_)
        for plane in (stage2.mapped, stage2.writable, slot.log.words)
    )
    return PageSights(mapped, writable, dirty)
