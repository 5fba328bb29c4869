import numpy as np
import pytest

from app.service.cost_estimate import INLINE_WORK, work_of, work_of_listing
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.model import Action, ClearDirtyLog, GetDirtyLog, Gfns, GuestWrite, HostWrite, PageRanges, SetCpu, SetMemslot, VmConfig

GIB = 1 << 30


def machine(size_bytes: int) -> Machine:
    made = Machine(VmConfig(ipa_bits=42))
    made.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=size_bytes, flags=1))
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
        (GIB, GetDirtyLog(slot=0), True),
        (128 * GIB, GetDirtyLog(slot=0), False),
        (GIB, GuestWrite(pages=gfns(1000)), True),
        (GIB, GuestWrite(pages=gfns(1_000_000)), False),
        (GIB, HostWrite(pages=ranges(0, 1 << 53)), True),
        (128 * GIB, HostWrite(pages=ranges(0, 1 << 53)), False),
        (128 * GIB, HostWrite(pages=ranges(0, 64)), True),
        (GIB, ClearDirtyLog(slot=0, pages=many_ranges(1000)), True),
        (GIB, ClearDirtyLog(slot=0, pages=many_ranges(100_000)), False),
        (GIB, SetMemslot(slot=1, guest_phys_addr=1 << 40, memory_size=128 * GIB, flags=1), False),
        (128 * GIB, SetCpu(cpu=0, online=False), True),
    ],
)
def test_what_takes_milliseconds_leaves_the_event_loop(
    size_bytes: int, action: Action, *, is_short: bool
) -> None:
    assert (work_of(machine(size_bytes), action) <= INLINE_WORK) is is_short


def test_a_list_of_ranges_is_work_by_the_pages_that_are_dirty() -> None:
    made = machine(GIB)
    clean = work_of_listing(made, 0)

    made.perform(HostWrite(pages=Gfns(np.arange(20_000, dtype=np.uint64))))

    assert clean == 0
    assert work_of_listing(made, 0) > INLINE_WORK
    assert work_of_listing(made, 7) == 0
