"""Entries by rank, against a plain list of the masked pages."""

import numpy as np
import pytest

from hacdbs_sim.model.words import WordMask, mask_of_pages
from hacdbs_sim.sim.arm64.entries import Entries
from tests.support.building import pages_of

DENSE = [page for page in range(64, 320) if page % 3]
SPARSE = [70, 71, 1000, 1023, 5000, 5001, 5002, 9999]


def entries_of(pages: list[int], before: int = 0) -> Entries:
    return Entries(mask_of_pages(np.array(pages, np.uint64)), before)


def pages_meant(mask: WordMask) -> list[int]:
    return [
        64 * int(word) + page
        for word, bits in zip(mask.indices(), mask.bits, strict=True)
        for page in sorted(pages_of([bits]))
    ]


@pytest.mark.parametrize("before", [0, 1000])
@pytest.mark.parametrize("pages", [DENSE, SPARSE], ids=["dense", "sparse"])
class TestRanks:
    def test_the_first_entries_are_the_lowest_pages(self, pages: list[int], before: int) -> None:
        entries = entries_of(pages, before)
        assert (entries.before, entries.total) == (before, before + len(pages))

        for count in range(len(pages) + 1):
            first = entries.first(before + count)

            assert pages_meant(first.mask) == pages[:count]
            assert (first.before, first.total) == (before, before + count)

    def test_the_words_of_the_first_entries_reach_to_the_frontier(
        self, pages: list[int], before: int
    ) -> None:
        entries = entries_of(pages, before)

        for count in range(1, len(pages) + 1):
            frontier = pages[count - 1] // 64
            taken = entries.words_of_first(before + count)

            upto = [page for page in pages if page // 64 <= frontier]
            assert pages_meant(taken.mask) == upto
            assert (taken.before, taken.total) == (before, before + len(upto))
            rest = taken.but_first(taken.first(before + count))
            assert pages_meant(rest) == upto[count:]

        assert pages_meant(entries.words_of_first(before).mask) == []

    def test_a_page_has_its_rank_and_a_rank_its_page(self, pages: list[int], before: int) -> None:
        entries = entries_of(pages, before)
        ranks = list(range(before, before + len(pages)))

        assert entries.pages(ranks) == pages
        assert entries.pages([]) == []
        assert [entries.rank_of_page(page) for page in pages] == ranks
        strangers = set(range(10_100)) - set(pages)
        assert {entries.rank_of_page(page) for page in strangers} == {None}

    def test_the_first_of_some_entries_is_found_by_rank_and_page(
        self, pages: list[int], before: int
    ) -> None:
        entries = entries_of(pages, before)

        assert entries.first_of(np.zeros_like(entries.mask.bits)) is None
        for number, page in enumerate(pages):
            later = entries.but_first(entries.first(before + number)).bits
            assert entries.first_of(later) == (before + number, page)


def test_entries_start_at_rank_0_by_default() -> None:
    entries = Entries(mask_of_pages(np.array([3, 9], np.uint64)))

    assert (entries.before, entries.total, entries.rank_of_page(9)) == (0, 2, 1)
