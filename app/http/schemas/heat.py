"""Heat maps of slots."""

from typing import Annotated, Final

from fastapi import Query
from typing_extensions import TypedDict

from hacdbs_sim.sim.actions import LeafState
from hacdbs_sim.sim.machine import Heat

from .base import answer
from .fields import BinsText

DEFAULT_BINS: Final = 1_024

BinsQuery = Annotated[BinsText, Query(description="The most bins to cut the slot into.")]


@answer
class HeatOut(TypedDict):
    """Pages of a slot by bin: how many are dirty (null without a log), and in which state of stage 2.

    A bin has `pages_per_bin` pages, the last one perhaps fewer; the five states of a bin add up to them.
    """

    slot: int
    npages: int
    bins: int
    pages_per_bin: int
    dirty: list[int] | None
    unmapped: list[int]
    read_only: list[int]
    read_write: list[int]
    writable_clean: list[int]
    writable_dirty: list[int]


def heat_out(heat: Heat) -> HeatOut:
    """Project a heat map."""
    states = heat.states
    return {
        "slot": heat.slot,
        "npages": heat.npages,
        "bins": heat.bins,
        "pages_per_bin": heat.pages_per_bin,
        "dirty": None if heat.dirty is None else heat.dirty.tolist(),
        "unmapped": states[LeafState.UNMAPPED].tolist(),
        "read_only": states[LeafState.READ_ONLY].tolist(),
        "read_write": states[LeafState.READ_WRITE].tolist(),
        "writable_clean": states[LeafState.WRITABLE_CLEAN].tolist(),
        "writable_dirty": states[LeafState.WRITABLE_DIRTY].tolist(),
    }
