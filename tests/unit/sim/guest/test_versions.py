"""Page versions: which write last touched a page."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model import (
    Action,
    DeleteMemslot,
    Footprint,
    GetWrittenPages,
    Gfns,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    PageRanges,
    SetMemslot,
    TrackVersions,
    VmConfig,
)
from hacdbs_sim.model.errors import NoSuchMemslotError
from hacdbs_sim.model.pages import pages_of
from hacdbs_sim.model.units import KIB
from hacdbs_sim.sim.guest.versions import FEW_RANGES
from tests.support.machine import Machine

PAGE = 4 * KIB
BASE = 1 << 18


def machine(*slots: tuple[int, int, int, int], tracking: bool = True) -> Machine:
    """Slots as (id, base_gfn, npages, flags)."""
    made = Machine(VmConfig())
    for slot, base, npages, flags in slots or ((0, BASE, 16, 1),):
        made.perform(
            SetMemslot(
                slot=slot, guest_phys_addr=base * PAGE, memory_size=npages * PAGE, flags=flags
            )
        )
    made.perform(TrackVersions(enabled=tracking))
    return made


def would_hold(made: Machine, action: Action[Any]) -> Footprint:
    after = made.estimate(action)
    return Footprint(pages=after.pages, state_bytes=after.state_bytes)


def gfns(*numbers: int) -> Gfns:
    return Gfns(np.array(numbers, np.uint64))


def ranges(*pairs: tuple[int, int]) -> PageRanges:
    first, count = np.array(pairs, np.uint64).T
    return PageRanges(first.copy(), count.copy())


def versions(made: Machine, slot: int = 0) -> list[int]:
    found = made.versions(slot)
    assert found is not None
    numbers: list[int] = found.tolist()
    return numbers


def test_none_are_kept_until_they_are_asked_for() -> None:
    made = machine(tracking=False)

    assert made.versions(0) is None


def test_each_write_leaves_its_number_on_its_pages() -> None:
    made = machine()

    made.perform(GuestWrite(pages=gfns(BASE, BASE + 3, BASE)))
    made.perform(HostWrite(pages=ranges((BASE + 3, 2))))
    made.perform(GuestWrite(pages=gfns(BASE + 15)))

    assert versions(made) == [1, 0, 0, 2, 2, *[0] * 10, 3]


def test_a_slot_made_later_has_versions_of_the_same_kind() -> None:
    made = machine()
    made.perform(SetMemslot(slot=1, guest_phys_addr=1 << 31, memory_size=16 * PAGE, flags=1))
    made.perform(GuestWrite(pages=gfns((1 << 31) // PAGE + 2)))

    found = made.versions(1)

    assert found is not None
    assert found.dtype == np.uint32
    assert found.tolist() == [0, 0, 1, *[0] * 13]


def test_reads_and_unmaps_leave_no_trace() -> None:
    made = machine()

    made.perform(GuestRead(pages=gfns(BASE)))
    made.perform(HostUnmap(pages=gfns(BASE)))
    made.perform(GuestWrite(pages=gfns()))

    assert versions(made) == [0] * 16


def test_a_slot_that_does_not_log_has_versions_and_a_readonly_one_stays_at_zero() -> None:
    made = machine((0, BASE, 4, 0), (1, BASE + 4, 4, 2), (2, BASE + 12, 4, 1))

    made.perform(GuestWrite(pages=ranges((BASE, 20))))
    made.perform(GuestWrite(pages=gfns(BASE + 3, BASE + 5, BASE + 9, BASE + 12, BASE + 16)))

    assert versions(made, 0) == [1, 1, 1, 2]
    assert versions(made, 1) == [0] * 4
    assert versions(made, 2) == [2, 1, 1, 1]


@given(
    st.lists(
        st.tuples(st.integers(BASE - 8, BASE + 40), st.integers(1, 20)), min_size=1, max_size=100
    )
)
def test_few_ranges_and_many_leave_the_same(pairs: list[tuple[int, int]]) -> None:
    made = machine((0, BASE, 32, 1))
    touched = {gfn for first, count in pairs for gfn in range(first, first + count)}

    made.perform(GuestWrite(pages=ranges(*pairs)))

    assert versions(made) == [int(BASE + page in touched) for page in range(32)]
    many = machine((0, BASE, 32, 1))
    many.perform(GuestWrite(pages=ranges(*(pairs * (FEW_RANGES + 1)))))
    assert versions(many) == versions(made)


def test_a_move_keeps_them_and_a_delete_loses_them() -> None:
    made = machine()
    made.perform(GuestWrite(pages=gfns(BASE)))
    user = BASE * PAGE

    made.perform(
        SetMemslot(slot=0, guest_phys_addr=0, memory_size=16 * PAGE, userspace_addr=user, flags=1)
    )
    moved = versions(made)
    made.perform(DeleteMemslot(slot=0))
    made.perform(SetMemslot(slot=0, guest_phys_addr=0, memory_size=8 * PAGE))

    assert moved == [1, *[0] * 15]
    assert versions(made) == [0] * 8


def test_they_are_kept_until_nobody_needs_them_and_begin_again_at_zero() -> None:
    made = machine()
    made.perform(GuestWrite(pages=gfns(BASE)))

    made.perform(TrackVersions(enabled=True))
    made.perform(TrackVersions(enabled=False))
    kept = versions(made)
    made.perform(TrackVersions(enabled=False))
    forgotten = made.versions(0)
    made.perform(TrackVersions(enabled=False))  # one too many counts as none
    made.perform(TrackVersions(enabled=True))

    assert kept[0] == 1
    assert forgotten is None
    assert versions(made) == [0] * 16


def written(made: Machine, slot: int) -> list[int] | None:
    found = made.query(GetWrittenPages(slot=slot))
    return None if found is None else pages_of(found.words).tolist()


def test_a_slot_made_before_any_other_goes_is_known_to_be_unwritten() -> None:
    made = machine()
    made.perform(GuestWrite(pages=gfns(BASE + 2)))
    made.perform(SetMemslot(slot=1, guest_phys_addr=1 << 31, memory_size=16 * PAGE))

    assert written(made, 0) == [2]
    assert written(made, 1) == []


def test_a_slot_made_after_another_went_may_have_that_ones_memory() -> None:
    # QEMU cuts a slot in two by deleting it and making two over the same memory.
    made = machine()
    made.perform(GuestWrite(pages=gfns(BASE + 2)))
    made.perform(DeleteMemslot(slot=0))
    made.perform(SetMemslot(slot=0, guest_phys_addr=BASE * PAGE, memory_size=8 * PAGE))
    made.perform(SetMemslot(slot=1, guest_phys_addr=(BASE + 8) * PAGE, memory_size=8 * PAGE))

    assert written(made, 0) is None
    assert written(made, 1) is None


def test_a_part_of_them_can_be_read_and_is_a_copy() -> None:
    made = machine()
    made.perform(GuestWrite(pages=ranges((BASE + 2, 3))))

    part = made.versions(0, 1, 3)

    assert part is not None
    assert part.tolist() == [0, 1, 1]
    part[:] = 9
    assert versions(made)[:6] == [0, 0, 1, 1, 1, 0]


def test_they_count_four_bytes_a_page_in_the_footprint() -> None:
    made = machine(tracking=False)
    before = made.footprint
    wanted = would_hold(made, TrackVersions(enabled=True))

    made.perform(TrackVersions(enabled=True))

    assert made.footprint == wanted
    assert wanted.state_bytes - before.state_bytes == 4 * 16
    assert would_hold(made, TrackVersions(enabled=False)) == before
    grown = would_hold(made, SetMemslot(slot=1, guest_phys_addr=0, memory_size=8 * PAGE))
    made.perform(SetMemslot(slot=1, guest_phys_addr=0, memory_size=8 * PAGE))
    assert made.footprint == grown


@pytest.mark.parametrize("tracking", [False, True])
def test_a_slot_that_is_not_there_has_none(tracking: bool) -> None:
    with pytest.raises(NoSuchMemslotError):
        machine(tracking=tracking).versions(5)
