"""A large clear goes tile by tile: what it needs beside the planes does not grow with the slot.

The peak of allocated memory shows it at any speed: with tiles it is some tiles, without
them some planes.
"""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from hacdbs_sim.model import Bitmap, ClearDirtyLog, FaultType
from tests.support.building import arm, get, machine, write

PAGES = 1 << 26
"""256 GiB: a plane of 8 MiB, 32 tiles; a quarter of it is 8 tiles."""
PLANE_BYTES = PAGES // 8
ARRAYS = PAGES // 512


@pytest.mark.parametrize(
    ("config", "faults"),
    [
        ({}, []),
        ({"manual_dirty_log_protect2": 3, "eager_split_chunk_size": 4096}, []),
        ({}, [(FaultType.STRUCTF, {"batch": ARRAYS})]),  # an entry that never comes
        ({}, [(FaultType.IPAF, {"batch": 0})]),
        ({}, [(FaultType.IPAF, {"batch": ARRAYS - 1})]),
        ({}, [(FaultType.IPAF, {"gfn": PAGES // 2})]),
        ({}, [(FaultType.LOST_INTERRUPT, {"batch": ARRAYS - 1})]),
        ({}, [(FaultType.UNIT_BUSY, {})]),  # software does it all
    ],
    ids=["plain", "init-set", "no-entry", "early", "late", "gfn", "late-loss", "busy"],
)
def test_a_clear_takes_no_scratch_of_a_planes_size(
    config: dict[str, Any],
    faults: list[tuple[FaultType, dict[str, Any]]],
) -> None:
    made = machine(PAGES, **config)
    write(made, (0, PAGES))
    for kind, place in faults:
        arm(made, kind, **place)
    everything = Bitmap(np.full(PAGES // 64, 2**64 - 1, np.uint64))

    tracemalloc.start()
    try:
        outcome = made.perform(ClearDirtyLog(slot=0, pages=everything))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (outcome.dirty_count, outcome.remaining_count) == (PAGES, 0)
    assert peak < PLANE_BYTES / 4


def test_a_write_of_a_whole_slot_takes_no_scratch_of_a_planes_size() -> None:
    made = machine(PAGES)
    write(made, (0, PAGES))
    get(made)

    tracemalloc.start()
    try:
        write(made, (0, PAGES))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert made.memslot(0).dirty_count == PAGES
    assert peak < PLANE_BYTES / 4
