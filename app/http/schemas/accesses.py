"""Accesses of guest and host to batches of pages."""

from typing import Annotated, ClassVar

import numpy as np
from pydantic import FailFast
from typing_extensions import TypedDict

from hacdbs_sim.sim.actions import AccessOutcome, Gfns, PageRanges, PageSet

from ..codec import range_columns
from .base import OneOf, answer, omittable
from .fields import Count, PositiveCount

Ranges = Annotated[list[tuple[Count, PositiveCount]], FailFast()]


class PagesIn(OneOf):
    """Guest frames: one by one, or as ranges [first, count]. Order is free, repeats count."""

    one_of: ClassVar = ("gfns", "gfn_ranges")
    shown: ClassVar = {"gfn_ranges": [[262144, 512], [263000, 1]]}
    max_bytes: ClassVar = None

    gfns: Annotated[list[Count], FailFast()] = omittable()
    gfn_ranges: Ranges = omittable()

    def to_domain(self) -> PageSet:
        """Give the pages as arrays."""
        if self.gfn_ranges is not None:
            return PageRanges(*range_columns(self.gfn_ranges))
        return Gfns(np.array(self.gfns, dtype=np.uint64))


@answer
class AccessOut(TypedDict):
    """What a batch of accesses did; faults are the guest's stage-2 faults, by kind."""

    pages: int
    newly_dirty: int
    translation_faults: int
    permission_faults: int
    mmio_exits: int
    block_splits: int
    blocks_mapped: int


def access_out(outcome: AccessOutcome) -> AccessOut:
    """Project an outcome of the core."""
    return {
        "pages": outcome.pages,
        "newly_dirty": outcome.newly_dirty,
        "translation_faults": outcome.translation_faults,
        "permission_faults": outcome.permission_faults,
        "mmio_exits": outcome.mmio_exits,
        "block_splits": outcome.block_splits,
        "blocks_mapped": outcome.blocks_mapped,
    }
