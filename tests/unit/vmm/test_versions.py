"""What arrived, and what is lost of it."""

import numpy as np
import pytest
from hacdbs_sim.vmm.versions import MAX_LOST_RANGES, Arrived

NPAGES = 1_000
WORDS = 16
NONE = np.zeros(WORDS, np.uint64)
ALL = np.full(WORDS, 0xFFFF_FFFF_FFFF_FFFF, np.uint64)


def words(*pages: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    found = np.zeros(WORDS, np.uint64)
    for page in pages:
        found[page // 64] |= np.uint64(1 << page % 64)
    return found


def written(*pages: int, version: int = 5) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    versions = np.zeros(NPAGES, np.uint32)
    versions[list(pages)] = version
    return versions


def test_a_page_that_never_arrived_is_lost() -> None:
    lost = Arrived(0, NPAGES).lost(written(), NONE)

    assert (lost.lost_pages, lost.lost_ranges) == (NPAGES, ((0, NPAGES),))


def test_a_page_that_arrived_after_its_last_write_is_not_lost() -> None:
    arrived = Arrived(3, NPAGES)

    arrived.receive(0, ALL, last_version=5)

    lost = arrived.lost(written(7), NONE)
    assert (lost.slot, lost.lost_pages, lost.lost_ranges) == (3, 0, ())


@pytest.mark.parametrize("sent", [words(7, 999), ALL])
def test_a_page_written_after_it_arrived_is_lost(
    sent: np.ndarray[tuple[int], np.dtype[np.uint64]],
) -> None:
    arrived = Arrived(0, NPAGES, last_version=4)

    arrived.receive(0, sent, last_version=5)

    lost = arrived.lost(written(7, 999, version=6), NONE)
    assert lost.lost_ranges == ((7, 1), (999, 1))


@pytest.mark.parametrize("others", [(), range(192, 320)])
def test_only_what_was_sent_arrives(others: tuple[int, ...]) -> None:
    arrived = Arrived(0, NPAGES, last_version=0)

    arrived.receive(192, words(*others, 195)[3:], last_version=5)

    lost = arrived.lost(written(100, 195, 900), NONE)
    assert lost.lost_ranges == ((100, 1), (900, 1))


def test_a_page_known_to_be_pending_is_not_lost() -> None:
    lost = Arrived(0, NPAGES, last_version=0).lost(written(1, 2, 3, 10), words(2, 10))

    assert lost.lost_ranges == ((1, 1), (3, 1))


def test_the_count_is_exact_where_there_are_too_many_ranges_to_list() -> None:
    lost = Arrived(0, NPAGES, last_version=0).lost(written(*range(0, NPAGES, 2)), NONE)

    assert lost.lost_pages == 500
    assert len(lost.lost_ranges) == MAX_LOST_RANGES
    assert lost.ranges_omitted == 500 - MAX_LOST_RANGES
