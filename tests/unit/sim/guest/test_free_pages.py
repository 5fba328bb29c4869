"""Pages that the guest gave up: ballooned or hinted free, until they are written."""

from typing import Any

import numpy as np
import pytest

from hacdbs_sim.model import (
    AddSequential,
    DeleteMemslot,
    GetFreePages,
    Gfns,
    GuestRead,
    GuestWrite,
    HasFreePages,
    HintFree,
    HostDiscard,
    HostWrite,
    LeafState,
    PageRanges,
    PageSet,
    RunGuest,
    SetMemslot,
    TrackVersions,
    VmConfig,
)
from hacdbs_sim.model.errors import GfnBeyondIpaSpaceError, NoSuchMemslotError
from hacdbs_sim.model.pages import pages_of
from tests.support.machine import Machine

PAGE = 4096
BASE = 1 << 18
NPAGES = 200
LOG, READONLY = 1, 2


def machine(flags: int = LOG) -> Machine:
    made = Machine(VmConfig())
    made.perform(slot(0, BASE, flags))
    made.perform(slot(1, BASE + 1_000, flags))
    return made


def slot(number: int, base: int, flags: int = LOG) -> SetMemslot:
    return SetMemslot(
        slot=number, guest_phys_addr=base * PAGE, memory_size=NPAGES * PAGE, flags=flags
    )


def gfns(*numbers: int) -> Gfns:
    return Gfns(np.array(numbers, np.uint64))


def ranges(*pairs: tuple[int, int]) -> PageRanges:
    first, count = zip(*pairs, strict=True)
    return PageRanges(np.array(first, np.uint64), np.array(count, np.uint64))


def free(made: Machine, number: int = 0, **window: Any) -> list[int] | None:
    found = made.query(GetFreePages(slot=number, **window)).bitmap
    return None if found is None else pages_of(found.words).tolist()


def state_of(made: Machine, page: int) -> LeafState:
    (run,) = made.stage2(BASE + page, 1, 10).runs
    return run.state


def dirty(made: Machine) -> int | None:
    return made.memslot(0).dirty_count


def test_without_any_nothing_is_known_to_be_free() -> None:
    made = machine()

    assert made.query(HasFreePages()) is False
    assert free(made) is None


def test_a_discard_unmaps_pages_leaves_the_log_and_makes_them_free() -> None:
    made = machine()
    made.perform(GuestWrite(pages=ranges((BASE, 10))))

    outcome = made.perform(HostDiscard(pages=ranges((BASE + 2, 3))))

    assert outcome.pages == 3
    assert made.counters()["host_unmaps"] == 3
    assert (state_of(made, 2), state_of(made, 5)) == (
        LeafState.UNMAPPED,
        LeafState.WRITABLE_DIRTY,
    )
    assert dirty(made) == 10
    assert free(made) == [2, 3, 4]
    assert made.query(HasFreePages()) is True


def test_a_hint_makes_pages_free_and_changes_nothing_else() -> None:
    made = machine()
    made.perform(GuestWrite(pages=ranges((BASE, 10))))
    before = made.counters(), made.stage2(0, 1 << 28, 99), made.memslots(), made.clock()

    outcome = made.perform(HintFree(pages=gfns(BASE + 2, BASE + 2, BASE + 99)))

    assert outcome.pages == 3
    assert (made.counters(), made.stage2(0, 1 << 28, 99), made.memslots(), made.clock()) == before
    assert free(made) == [2, 99]


@pytest.mark.parametrize("pages", [gfns(BASE + 3), ranges((BASE + 3, 1))], ids=["gfns", "ranges"])
@pytest.mark.parametrize("write", [GuestWrite, HostWrite])
def test_a_write_ends_it(write: type[GuestWrite | HostWrite], pages: PageSet) -> None:
    made = machine()
    made.perform(HintFree(pages=ranges((BASE, 10))))

    made.perform(write(pages=pages))

    assert free(made) == [0, 1, 2, *range(4, 10)]


def test_a_write_of_a_workload_ends_it() -> None:
    made = machine()
    made.perform(HintFree(pages=ranges((BASE, 10))))
    made.perform(AddSequential(slot=0, writes_per_second=1_000, num_pages=4))

    made.perform(RunGuest(duration_ns=2_000_000))

    assert free(made) == list(range(2, 10))


def test_a_read_does_not_end_it() -> None:
    made = machine()
    made.perform(HostDiscard(pages=ranges((BASE, 2))))

    made.perform(GuestRead(pages=gfns(BASE)))

    assert free(made) == [0, 1]


def test_a_write_to_a_readonly_slot_writes_nothing() -> None:
    made = machine(READONLY)
    made.perform(HintFree(pages=ranges((BASE, 2))))

    made.perform(GuestWrite(pages=gfns(BASE)))

    assert free(made) == [0, 1]


def test_a_write_beside_the_slots_that_have_any_changes_nothing() -> None:
    made = machine()
    made.perform(HintFree(pages=gfns(BASE)))

    made.perform(GuestWrite(pages=gfns(BASE + 1_000)))

    assert (free(made), free(made, 1)) == ([0], None)


def test_pages_of_several_slots_and_of_none_are_given_up_at_once() -> None:
    made = machine()

    made.perform(HintFree(pages=ranges((BASE + 198, 804), (0, 5))))

    assert free(made) == [198, 199]
    assert free(made, 1) == [0, 1]


def test_a_window_of_them_is_a_copy() -> None:
    made = machine()
    made.perform(HintFree(pages=ranges((BASE + 60, 10))))

    found = made.query(GetFreePages(slot=0, first_page=64, num_pages=64))
    assert found.bitmap is not None
    found.bitmap.words[:] = 0

    assert (found.first_page, found.num_pages) == (64, 64)
    assert free(made, first_page=64) == [0, 1, 2, 3, 4, 5]
    assert free(made, num_pages=64) == [60, 61, 62, 63]


def test_a_slot_that_is_made_again_has_none() -> None:
    made = machine()
    made.perform(HintFree(pages=ranges((BASE, 3), (BASE + 1_000, 1))))

    made.perform(DeleteMemslot(slot=0))
    made.perform(slot(0, BASE))

    assert (free(made), free(made, 1)) == (None, [0])


def test_a_slot_that_moves_keeps_them() -> None:
    made = machine()
    made.perform(HintFree(pages=gfns(BASE + 7)))

    made.perform(
        SetMemslot(
            slot=0,
            guest_phys_addr=(BASE + 5_000) * PAGE,
            memory_size=NPAGES * PAGE,
            userspace_addr=BASE * PAGE,
            flags=LOG,
        )
    )

    assert free(made) == [7]


@pytest.mark.parametrize("give_up", [HintFree, HostDiscard])
def test_they_count_a_bit_a_page_of_the_slots_around_them(
    give_up: type[HintFree | HostDiscard],
) -> None:
    made = machine()
    action = give_up(pages=gfns(BASE))
    before, estimate = made.footprint, made.estimate(action)

    made.perform(action)

    words = -(-NPAGES // 64)
    assert made.footprint.state_bytes == estimate.state_bytes == before.state_bytes + 8 * words
    assert made.estimate(action).state_bytes == made.footprint.state_bytes
    assert made.estimate(give_up(pages=gfns())).state_bytes == made.footprint.state_bytes
    made.perform(TrackVersions(enabled=True))
    assert made.footprint.state_bytes == estimate.state_bytes + 4 * 2 * NPAGES


@pytest.mark.parametrize("give_up", [HintFree, HostDiscard])
def test_a_frame_beyond_the_ipa_space_is_refused_and_none_is_given_up(
    give_up: type[HintFree | HostDiscard],
) -> None:
    made = machine()

    with pytest.raises(GfnBeyondIpaSpaceError):
        made.perform(give_up(pages=gfns(BASE, 1 << 28)))

    assert free(made) is None


def test_those_of_a_slot_that_is_not_there_are_refused() -> None:
    with pytest.raises(NoSuchMemslotError):
        machine().query(GetFreePages(slot=5))
