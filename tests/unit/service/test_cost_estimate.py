import numpy as np
import pytest

from app.service.cost_estimate import INLINE_WORK, work_of, work_of_listing
from hacdbs_sim.sim.actions import (
    Action,
    ClearDirtyLog,
    GetDirtyLog,
    Gfns,
    GuestWrite,
    HostWrite,
    MachineConfig,
    PageRanges,
    SetCpuOnline,
    SetMemoryRegion,
)
from hacdbs_sim.sim.machine import Machine

GIB = 1 << 30


def machine(size_bytes: int) -> Machine:
    made = Machine(MachineConfig(ipa_bits=42))
    made.perform(SetMemoryRegion(0, 0, size_bytes, flags=1))
    return made


def gfns(count: int) -> Gfns:
    return Gfns(np.zeros(count, dtype=np.uint64))


def ranges(first: int, count: int) -> PageRanges:
    return PageRanges(np.array([first], dtype=np.uint64), np.array([count], dtype=np.uint64))


def many_ranges(count: int) -> PageRanges:
    return PageRanges(np.arange(count, dtype=np.uint64), np.ones(count, dtype=np.uint64))


@pytest.mark.parametrize(
    ("size_bytes", "action", "is_short"),
    [
        (GIB, GetDirtyLog(0), True),
        (128 * GIB, GetDirtyLog(0), False),
        (GIB, GuestWrite(gfns(1000)), True),
        (GIB, GuestWrite(gfns(1_000_000)), False),
        (GIB, HostWrite(ranges(0, 1 << 53)), True),
        (128 * GIB, HostWrite(ranges(0, 1 << 53)), False),
        (128 * GIB, HostWrite(ranges(0, 64)), True),
        (GIB, ClearDirtyLog(0, many_ranges(1000)), True),
        (GIB, ClearDirtyLog(0, many_ranges(100_000)), False),
        (GIB, SetMemoryRegion(1, 1 << 40, 128 * GIB, flags=1), False),
        (128 * GIB, SetCpuOnline(0, online=False), True),
    ],
)
def test_what_takes_milliseconds_leaves_the_event_loop(
    size_bytes: int, action: Action, *, is_short: bool
) -> None:
    assert (work_of(machine(size_bytes), action) <= INLINE_WORK) is is_short


def test_a_list_of_ranges_is_work_by_the_pages_that_are_dirty() -> None:
    made = machine(GIB)
    clean = work_of_listing(made, 0)

    made.perform(HostWrite(Gfns(np.arange(20_000, dtype=np.uint64))))

    assert clean == 0
    assert work_of_listing(made, 0) > INLINE_WORK
    assert work_of_listing(made, 7) == 0
