"""A heat map against counting page by page."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hacdbs_sim.model import (
    MAX_BINS,
    Features,
    GetDirtyLog,
    GuestRead,
    GuestWrite,
    Heat,
    HostUnmap,
    LeafState,
    SetMemslot,
)
from hacdbs_sim.model.errors import NoSuchMemslotError, WindowOutsideMemslotError
from tests.support.building import LOG, MIB, gfns, machine, ranges
from tests.support.machine import Machine
from tests.unit.sim.read_back import dirty_pages

BASE = 512


def counted_by_hand(vm: Machine, heat: Heat) -> tuple[list[int] | None, dict[str, list[int]]]:
    """The dirty pages and states of each bin, page by page from the other queries."""
    region = vm.memslot(0)
    starts = range(0, region.npages, heat.pages_per_bin)
    states = {state: [0] * len(starts) for state in LeafState}
    for run in vm.stage2(region.base_gfn, region.npages, 1 << 20).runs:
        for page in range(run.gfn - region.base_gfn, run.gfn - region.base_gfn + run.count):
            states[run.state][page // heat.pages_per_bin] += 1
    dirty = None
    if region.dirty_count is not None:
        dirty = [0] * len(starts)
        for page in dirty_pages(vm.peek_dirty_log(0)):
            dirty[page // heat.pages_per_bin] += 1
    return dirty, states  # type: ignore[return-value]


def by_state(heat: Heat, state: LeafState) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = getattr(heat, state.value)
    return counts


def seen(heat: Heat) -> tuple[list[int] | None, dict[str, list[int]]]:
    dirty = None if heat.dirty is None else heat.dirty.tolist()
    return dirty, {state: by_state(heat, state).tolist() for state in LeafState}


NPAGES = st.sampled_from([1, 63, 64, 65, 1_000, 1_536, 2_048])
BINS = st.sampled_from([1, 2, 3, 7, 16, 100, MAX_BINS])
PLACES = st.lists(st.integers(0, 2_047), max_size=20)


@given(
    npages=NPAGES,
    bins=BINS,
    places=st.tuples(PLACES, PLACES, PLACES, PLACES),
    logs=st.booleans(),
    huge=st.booleans(),
    dbm=st.booleans(),
    cleans=st.booleans(),
)
def test_a_heat_map_counts_each_page_once_where_it_is(
    npages: int, bins: int, places: tuple[list[int], ...], **flags: bool
) -> None:
    vm = machine(features=Features(dbm=flags["dbm"]))
    size = npages * 4096
    backing = 2 * MIB if flags["huge"] else 4096
    vm.perform(
        SetMemslot(slot=0, guest_phys_addr=BASE * 4096, memory_size=size, flags=0, backing=backing)
    )
    written, read, unmapped, again = (
        gfns(*(BASE + page for page in some if page < npages)) for some in places
    )
    vm.perform(GuestWrite(pages=written))
    if flags["logs"]:
        vm.perform(
            SetMemslot(
                slot=0, guest_phys_addr=BASE * 4096, memory_size=size, flags=LOG, backing=backing
            )
        )
    vm.perform(GuestRead(pages=read))
    vm.perform(HostUnmap(pages=unmapped))
    vm.perform(GuestWrite(pages=again))
    if flags["logs"] and flags["cleans"]:
        vm.perform(GetDirtyLog(slot=0))

    heat = vm.heat(0, bins)

    assert seen(heat) == counted_by_hand(vm, heat)
    assert heat.bins <= bins
    assert sum(int(by_state(heat, state).sum()) for state in LeafState) == npages


@pytest.mark.parametrize(
    ("npages", "bins", "pages_per_bin", "answered"),
    [
        (1, 1, 1, 1),
        (1_000, 1_024, 1, 1_000),
        (1_000, 300, 4, 250),
        (1_000, 10, 128, 8),
        (1_000, 1, 1_024, 1),
        (1 << 20, 8_192, 128, 8_192),
        ((1 << 20) + 1, 8_192, 192, 5_462),
    ],
)
def test_bins_are_equal_and_from_64_pages_on_whole_words(
    npages: int, bins: int, pages_per_bin: int, answered: int
) -> None:
    heat = machine(npages).heat(0, bins)

    assert (heat.pages_per_bin, heat.bins) == (pages_per_bin, answered)
    assert heat.dirty is not None
    assert len(heat.dirty) == answered


def test_blocks_larger_and_smaller_than_a_bin_are_spread_over_the_bins() -> None:
    vm = machine()
    vm.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=8 * MIB, flags=0, backing=2 * MIB))
    vm.perform(GuestWrite(pages=ranges((0, 1), (1_024, 1))))

    fine, coarse = vm.heat(0, 16), vm.heat(0, 2)

    assert fine.writable_dirty.tolist() == ([128] * 4 + [0] * 4) * 2
    assert fine.unmapped.tolist() == ([0] * 4 + [128] * 4) * 2
    assert coarse.writable_dirty.tolist() == coarse.unmapped.tolist() == [512, 512]


def test_a_slot_without_log_has_no_dirty_counts() -> None:
    assert machine(100, flags=0).heat(0, 10).dirty is None


def test_a_slot_that_is_absent_has_no_heat() -> None:
    with pytest.raises(NoSuchMemslotError):
        machine(100).heat(1, 10)


def test_a_query_changes_nothing() -> None:
    vm = machine(10_000)
    vm.perform(GuestWrite(pages=ranges((0, 5_000))))
    before: Any = (vm.counters(), vm.peek_dirty_log(0).bitmap)

    vm.heat(0, 100)

    assert (vm.counters(), vm.peek_dirty_log(0).bitmap) == before


@given(
    places=PLACES,
    first=st.sampled_from([0, 64, 512, 960]),
    length=st.sampled_from([1, 64, 65, 500, 9_999]),
    bins=BINS,
)
def test_a_window_has_what_the_whole_has_there(
    places: list[int], first: int, length: int, bins: int
) -> None:
    vm = machine(1_000, base_gfn=BASE)
    if written := [BASE + place for place in places if place < 1_000]:
        vm.perform(GuestWrite(pages=gfns(*written)))
    whole = vm.heat(0, MAX_BINS)

    part = vm.heat(0, bins, first_page=first, num_pages=length)

    end = min(first + -(-length // 64) * 64, 1_000)
    assert (part.npages, part.first_page, part.num_pages) == (1_000, first, end - first)
    starts = range(0, end - first, part.pages_per_bin)
    assert part.bins == len(starts) <= bins
    for name in ("dirty", *(state.value for state in LeafState)):
        pages = getattr(whole, name)[first:end]
        expected = [int(pages[at : at + part.pages_per_bin].sum()) for at in starts]
        assert getattr(part, name).tolist() == expected


def test_a_window_behind_the_end_is_refused_with_its_bound() -> None:
    vm = machine(256)

    with pytest.raises(WindowOutsideMemslotError) as refused:
        vm.heat(0, 1, first_page=256)

    assert (refused.value.field, refused.value.bound, refused.value.value) == (
        "first_page",
        255,
        256,
    )
