"""guest_write_memory: ranges of bytes write the pages that they touch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model import GetDirtyLog, GuestWriteMemory, MemslotFlags, SetMemslot, VmConfig
from hacdbs_sim.model.errors import GfnBeyondIpaSpaceError, NoSuchVcpuError
from tests.support.machine import Machine

BASE = 1 << 30
PAGES = 64


def machine(page_size: int = 4096) -> Machine:
    made = Machine(VmConfig(page_size=page_size))
    made.perform(
        SetMemslot(
            slot=0,
            guest_phys_addr=BASE,
            memory_size=PAGES * page_size,
            flags=MemslotFlags.LOG_DIRTY_PAGES,
        )
    )
    return made


def ranges(page_size: int) -> st.SearchStrategy[tuple[tuple[int, int], ...]]:
    start = st.integers(0, PAGES * page_size - 1)
    one = start.flatmap(
        lambda at: st.tuples(st.just(BASE + at), st.integers(1, PAGES * page_size - at))
    )
    return st.lists(one, min_size=1, max_size=5).map(tuple)


@given(st.sampled_from([4096, 16384, 65536]), st.data())
def test_every_page_that_a_range_touches_is_dirty_and_no_other(
    page_size: int, data: st.DataObject
) -> None:
    given_ranges = data.draw(ranges(page_size))
    touched = {
        (byte - BASE) // page_size
        for gpa, length in given_ranges
        for byte in (*range(gpa, gpa + length, page_size), gpa + length - 1)
    }
    vm = machine(page_size)

    outcome = vm.perform(GuestWriteMemory(gpa_ranges=given_ranges))
    log = vm.perform(GetDirtyLog(slot=0))

    assert set(log.pages().tolist()) == touched
    assert outcome.newly_dirty == len(touched)


def test_a_page_counts_once_for_each_range_that_touches_it() -> None:
    outcome = machine().perform(GuestWriteMemory(gpa_ranges=((BASE + 4095, 2), (BASE, 8))))

    assert (outcome.pages, outcome.newly_dirty) == (3, 2)


def test_a_range_outside_every_slot_exits() -> None:
    outcome = machine().perform(GuestWriteMemory(gpa_ranges=((0, 8192),)))

    assert (outcome.mmio_exits, outcome.newly_dirty) == (2, 0)


@pytest.mark.parametrize("pair", [(1 << 40, 1), ((1 << 40) - 1, 2), (0, 9_999_999 << 40)])
def test_a_range_beyond_the_ipa_space_is_refused_whole(pair: tuple[int, int]) -> None:
    vm = machine()

    with pytest.raises(GfnBeyondIpaSpaceError) as refused:
        vm.perform(GuestWriteMemory(gpa_ranges=((BASE, 1), pair)))

    assert refused.value.field == "gpa_ranges"
    assert vm.perform(GetDirtyLog(slot=0)).dirty_count == 0


def test_an_absent_vcpu_is_refused() -> None:
    with pytest.raises(NoSuchVcpuError):
        machine().perform(GuestWriteMemory(gpa_ranges=((BASE, 1),), vcpu=1))
