"""What a copy has, and what is lost of it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hacdbs_sim.model import MemslotLife
from hacdbs_sim.vmm.copy import (
    MAX_ALL_LOST_RANGES,
    MAX_LISTED_SLOTS,
    MAX_LOST_RANGES,
    Judgement,
    SlotCopy,
)

NPAGES = 1_000
WORDS = 16
NONE = np.zeros(WORDS, np.uint64)
ALL = np.full(WORDS, 0xFFFF_FFFF_FFFF_FFFF, np.uint64)


def a_copy(*, slot: int = 0, last_version: int | None = None) -> SlotCopy:
    life = MemslotLife(slot=slot, created=1, log=None, npages=NPAGES, base_gfn=0)
    return SlotCopy(life, last_version)


def words(*pages: int) -> NDArray[np.uint64]:
    found = np.zeros(WORDS, np.uint64)
    for page in pages:
        found[page // 64] |= np.uint64(1 << page % 64)
    return found


def written(*pages: int, version: int = 5) -> NDArray[np.uint32]:
    versions = np.zeros(NPAGES, np.uint32)
    versions[list(pages)] = version
    return versions


def test_a_page_that_was_never_received_is_lost() -> None:
    found = a_copy().compare(written(), NONE)

    assert (found.lost_pages, found.lost_ranges) == (NPAGES, ((0, NPAGES),))
    assert found.current_pages == 0


def test_a_page_that_was_read_after_its_last_write_is_current() -> None:
    copy = a_copy(slot=3)

    copy.receive(0, ALL, last_version=5)

    found = copy.compare(written(7), NONE)
    assert (found.slot, found.lost_pages, found.lost_ranges) == (3, 0, ())
    assert found.current_pages == NPAGES


@pytest.mark.parametrize("sent", [words(7, 999), ALL])
def test_a_page_written_after_it_was_read_is_lost(sent: NDArray[np.uint64]) -> None:
    copy = a_copy(last_version=4)

    copy.receive(0, sent, last_version=5)

    found = copy.compare(written(7, 999, version=6), NONE)
    assert found.lost_ranges == ((7, 1), (999, 1))


@pytest.mark.parametrize("others", [(), range(192, 320)])
def test_only_what_was_sent_is_received(others: tuple[int, ...]) -> None:
    copy = a_copy(last_version=0)

    copy.receive(192, words(*others, 195)[3:], last_version=5)

    found = copy.compare(written(100, 195, 900), NONE)
    assert found.lost_ranges == ((100, 1), (900, 1))


@pytest.mark.parametrize("others", [(), range(64)])
def test_a_page_that_is_forgotten_is_lacking_until_it_is_received_again(
    others: tuple[int, ...],
) -> None:
    copy = a_copy(last_version=9)

    copy.forget(0, words(*others, 70))

    before = copy.compare(written(), NONE)
    copy.receive(0, words(*others, 70), last_version=9)
    assert before.lost_pages == len(others) + 1
    assert copy.compare(written(), NONE).lost_pages == 0


def test_a_page_known_to_be_pending_is_not_lost() -> None:
    found = a_copy(last_version=0).compare(written(1, 2, 3, 10), words(2, 10))

    assert found.lost_ranges == ((1, 1), (3, 1))
    assert (found.current_pages, found.pending_pages) == (NPAGES - 4, 2)


def test_a_page_that_the_guest_gave_up_is_unneeded_unless_it_is_pending() -> None:
    found = a_copy(last_version=0).compare(written(1, 2, 3), words(2), words(2, 3, 500))

    assert (found.pending_pages, found.unneeded_pages, found.lost_pages) == (1, 1, 1)
    assert found.lost_ranges == ((1, 1),)


def test_the_count_is_exact_where_there_are_too_many_ranges_to_list() -> None:
    found = a_copy(last_version=0).compare(written(*range(0, NPAGES, 2)), NONE)

    assert found.lost_pages == 500
    assert len(found.lost_ranges) == MAX_LOST_RANGES
    assert found.ranges_omitted == 500 - MAX_LOST_RANGES


def test_the_stale_pages_are_those_that_are_not_current() -> None:
    copy = a_copy(last_version=5)
    copy.forget(0, words(70))

    stale = copy.stale(written(1, 999, version=6))

    assert stale.tolist() == words(1, 70, 999).tolist()


def test_a_copy_of_a_copy_changes_by_itself() -> None:
    one = a_copy()
    other = one.copy()

    other.receive(0, ALL, last_version=1)

    assert one.compare(written(), NONE).lost_pages == NPAGES
    assert other.compare(written(), NONE).lost_pages == 0


def test_a_verdict_has_the_sums_and_is_no_proof_where_a_slot_was_not_compared() -> None:
    judgement = Judgement()
    judgement.compare(a_copy(slot=0, last_version=0), written(1, 2, 3), words(1), words(2))
    judgement.compare(a_copy(slot=1), written(), NONE, None)

    proved = judgement.verdict()
    judgement.cannot_compare(9)
    judgement.cannot_compare(2)
    judgement.cannot_compare(9)
    unproved = judgement.verdict()

    assert (proved.verified, proved.unproved_slots) == (True, ())
    assert (proved.current_pages, proved.pending_pages) == (NPAGES - 3, 1)
    assert (proved.unneeded_pages, proved.lost_pages) == (1, NPAGES + 1)
    assert (unproved.verified, unproved.unproved_slots) == (False, (2, 9))


def test_of_many_slots_only_those_that_lost_pages_are_listed_with_so_many_ranges_in_all() -> None:
    judgement = Judgement()
    everything = ALL
    for slot in range(MAX_LISTED_SLOTS + 10):
        copy = a_copy(slot=slot, last_version=0)
        judgement.compare(
            copy, written(*range(0, NPAGES, 2)), NONE if slot % 2 else everything, None
        )

    verdict = judgement.verdict()

    assert [each.slot for each in verdict.slots] == list(range(1, MAX_LISTED_SLOTS + 10, 2))
    assert sum(len(each.lost_ranges) for each in verdict.slots) == MAX_ALL_LOST_RANGES
    assert verdict.lost_pages == (MAX_LISTED_SLOTS + 10) // 2 * 500
