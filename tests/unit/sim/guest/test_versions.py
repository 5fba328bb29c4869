"""Page versions: which write last touched a page."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model import (
    Action,
    DeleteMemslot,
    Footprint,
    GetPageVersions,
    GetWrittenPages,
    Gfns,
    GuestRead,
    GuestWrite,
    HostUnmap,
    HostWrite,
    NeedVersions,
    PageRanges,
    SetMemslot,
    SlotVersions,
    TrackVersions,
    VmConfig,
)
from hacdbs_sim.model.errors import NoSuchMemslotError, WindowOutsideMemslotError
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


def test_they_are_tracked_until_nobody_needs_them() -> None:
    made = machine()
    made.perform(GuestWrite(pages=gfns(BASE)))

    made.perform(NeedVersions(needed=True))
    made.perform(TrackVersions(enabled=False))
    kept = versions(made)
    made.perform(NeedVersions(needed=False))
    forgotten = made.versions(0)
    made.perform(NeedVersions(needed=False))  # one too many counts as none
    made.perform(NeedVersions(needed=True))

    assert kept[0] == 1
    assert forgotten is None
    assert versions(made) == [2] * 16


def test_after_a_stop_every_page_may_have_been_written() -> None:
    made = machine()
    made.perform(GuestWrite(pages=gfns(BASE)))

    made.perform(TrackVersions(enabled=True))
    kept = versions(made)
    made.perform(TrackVersions(enabled=False))
    made.perform(TrackVersions(enabled=False))
    made.perform(TrackVersions(enabled=True))

    assert kept[0] == 1
    assert versions(made) == [2] * 16
    assert made.last_version == 2


def test_after_a_stop_pages_that_nobody_ever_wrote_are_still_known_to_be_so() -> None:
    made = machine()

    made.perform(TrackVersions(enabled=False))
    made.perform(TrackVersions(enabled=True))

    assert versions(made) == [0] * 16


def test_they_are_tracked_as_the_caller_says_even_if_others_need_them_meanwhile() -> None:
    made = machine()
    made.perform(GuestWrite(pages=gfns(BASE)))

    made.perform(TrackVersions(enabled=True))
    made.perform(NeedVersions(needed=True))
    made.perform(NeedVersions(needed=False))
    kept = versions(made)
    made.perform(TrackVersions(enabled=False))

    assert kept[0] == 1
    assert made.versions(0) is None


@pytest.mark.parametrize("window", [(0, 16), (3, 4), (14, 99)])
def test_a_window_of_them_is_cut_at_the_end_of_the_slot(window: tuple[int, int]) -> None:
    made = machine()
    made.perform(GuestWrite(pages=gfns(BASE + 3)))
    made.perform(GuestWrite(pages=gfns(BASE + 15)))
    first, num = window

    found = made.query(GetPageVersions(slot=0, first_page=first, num_pages=num))

    assert found == SlotVersions(
        slot=0,
        first_page=first,
        num_pages=min(num, 16 - first),
        last_version=2,
        is_complete=True,
        versions=made.versions(0, first, num),
    )
    assert hash(found) == hash(replace(found, versions=None))
    assert found != replace(found, versions=None)
    assert found != "versions"


def test_without_tracking_a_window_of_them_has_none() -> None:
    found = machine(tracking=False).query(GetPageVersions(slot=0))

    assert (found.last_version, found.is_complete, found.versions) == (None, False, None)


def test_tracking_that_began_after_a_write_is_not_complete() -> None:
    made = machine(tracking=False)
    made.perform(GuestWrite(pages=gfns(BASE)))
    made.perform(TrackVersions(enabled=True))

    assert not made.query(GetPageVersions(slot=0)).is_complete


def test_a_window_that_begins_behind_the_slot_is_refused_by_its_bound() -> None:
    with pytest.raises(WindowOutsideMemslotError, match="at most 15, not 16") as refused:
        machine().query(GetPageVersions(slot=0, first_page=16))

    assert (refused.value.field, refused.value.bound) == ("first_page", 15)


def written(made: Machine, slot: int) -> list[int] | None:
    found = made.query(GetWrittenPages(slot=slot)).bitmap
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
    needed = would_hold(made, NeedVersions(needed=True))

    made.perform(TrackVersions(enabled=True))

    assert made.footprint == wanted == needed
    assert wanted.state_bytes - before.state_bytes == 4 * 16
    assert would_hold(made, TrackVersions(enabled=False)) == before
    assert would_hold(made, NeedVersions(needed=False)) == wanted
    grown = would_hold(made, SetMemslot(slot=1, guest_phys_addr=0, memory_size=8 * PAGE))
    made.perform(SetMemslot(slot=1, guest_phys_addr=0, memory_size=8 * PAGE))
    assert made.footprint == grown


@pytest.mark.parametrize("tracking", [False, True])
def test_a_slot_that_is_not_there_has_none(tracking: bool) -> None:
    with pytest.raises(NoSuchMemslotError):
        machine(tracking=tracking).versions(5)
