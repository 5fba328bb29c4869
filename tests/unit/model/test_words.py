from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model import words as w
from hacdbs_sim.model.pages import Gfns, PageRanges, flags_of, words_of
from tests.support.building import pages_of

word_lists = st.lists(
    st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 1 << 63, 2**64 - 1])), max_size=40
)


def plane_of(mask: w.WordMask, size: int = 2048) -> set[int]:
    plane = np.zeros(size, np.uint64)
    plane[mask.at] |= mask.bits
    return pages_of(plane)


@given(word_lists)
def test_popcount_counts_set_bits(values: list[int]) -> None:
    assert w.popcount(np.array(values, np.uint64)) == sum(v.bit_count() for v in values)


@given(st.lists(st.booleans(), max_size=300))
def test_booleans_become_bits_and_come_back(flags: list[bool]) -> None:
    words = words_of(np.array(flags, np.bool_))

    assert len(words) == w.words_for(len(flags))
    assert pages_of(words) == {page for page, flag in enumerate(flags) if flag}
    assert flags_of(words, len(flags)).tolist() == flags
    assert not flags_of(words)[len(flags) :].any()


@pytest.mark.parametrize("npages", [0, 1, 63, 64, 65, 128, 130])
def test_fill_first_sets_exactly_npages_bits(npages: int) -> None:
    words = np.zeros(w.words_for(npages), np.uint64)

    w.fill_first(words, npages)

    assert pages_of(words) == set(range(npages))


@given(word_lists)
def test_spans_fill_from_the_lowest_to_the_highest_bit(values: list[int]) -> None:
    got = w.spans(np.array(values, np.uint64))

    for value, span in zip(values, got.tolist(), strict=True):
        low = (value & -value).bit_length() - 1
        expected = ((1 << value.bit_length()) - 1) & ~((1 << low) - 1) if value else 0
        assert span == expected


@given(st.lists(st.integers(0, 100_000), max_size=300))
def test_single_pages_in_any_order_become_their_bits(pages: list[int]) -> None:
    assert plane_of(w.mask_of(Gfns(np.array(pages, np.uint64)))) == set(pages)


@given(st.lists(st.integers(0, 300), min_size=20, max_size=300))
def test_dense_single_pages_become_their_bits(pages: list[int]) -> None:
    mask = w.mask_of(Gfns(np.array(pages, np.uint64)))

    assert isinstance(mask.at, slice)
    assert plane_of(mask) == set(pages)


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 400)), max_size=30))
def test_ranges_that_overlap_become_their_union(pairs: list[tuple[int, int]]) -> None:
    array = np.array(pairs, np.uint64).reshape(-1, 2)

    mask = w.mask_of(PageRanges(array[:, 0], array[:, 1]))

    assert plane_of(mask) == {page for first, n in pairs for page in range(first, first + n)}
    indices = mask.indices().tolist()
    assert indices == sorted(set(indices))


@given(word_lists.filter(any), st.data())
def test_the_word_of_a_rank_holds_it(values: list[int], data: st.DataObject) -> None:
    words = np.array(values, np.uint64)
    total = w.popcount(words)
    rank = data.draw(st.integers(0, total - 1))

    word, before = w.word_of_rank(np.bitwise_count(words), rank)

    assert before == sum(v.bit_count() for v in values[:word])
    assert before <= rank < before + values[word].bit_count()


def test_the_word_of_a_rank_is_found_past_the_first_tile() -> None:
    counts = np.ones(50_000, np.uint8)
    counts[100] = 64

    assert w.word_of_rank(counts, 40_063) == (40_000, 40_063)


@given(word_lists.filter(any), st.data())
def test_positions_of_ranks_are_the_set_bits_in_order(
    values: list[int], data: st.DataObject
) -> None:
    words = np.array(values, np.uint64)
    ordered = sorted(pages_of(words))
    ranks = sorted(data.draw(st.lists(st.integers(0, len(ordered) - 1), max_size=8)))

    got = w.positions_of_ranks(words, np.array(ranks, np.int64))

    assert got.tolist() == [ordered[rank] for rank in ranks]


@given(st.integers(0, 2**64 - 1), st.integers(0, 64))
def test_first_bits_keeps_the_lowest(word: int, count: int) -> None:
    kept = sorted(pages_of([word]))[:count]

    assert w.first_bits(word, count) == sum(1 << bit for bit in kept)


@given(word_lists, st.integers(0, 9))
def test_counted_words_mean_the_same_bits_sparse_or_dense(values: list[int], start: int) -> None:
    words = np.array(values, np.uint64)

    mask = w.counted(words, start).mask

    assert plane_of(mask) == {page + 64 * start for page in pages_of(words)}


@pytest.mark.parametrize("sparse", [True, False])
def test_a_page_is_found_where_it_is_meant_and_nowhere_else(sparse: bool) -> None:
    plane = np.zeros(100, np.uint64)
    plane[[3, 40]] = [0b100, 1 << 63]
    full = w.WordMask(slice(0, 100), plane)
    mask = w.counted(plane, 0).mask if sparse else full

    assert isinstance(mask.at, slice) is not sparse
    found = mask.find(40 * 64 + 63)
    assert found is not None
    assert mask.word_at(found[0]) == 40
    assert found[1] == 63
    for absent in (40 * 64 + 62, 3 * 64, -1, 10_000, 41 * 64):
        assert mask.find(absent) is None


@pytest.mark.parametrize("tile_words", [1, 2, 7, w.TILE_WORDS])
@pytest.mark.parametrize(
    "pages",
    [
        Gfns(np.array([70], np.uint64)),
        Gfns(np.array([3, 64, 64, 900, 5], np.uint64)),
        PageRanges(np.array([63], np.uint64), np.array([1], np.uint64)),
        PageRanges(np.array([60], np.uint64), np.array([5], np.uint64)),
        PageRanges(np.array([64], np.uint64), np.array([64], np.uint64)),
        PageRanges(np.array([100], np.uint64), np.array([1000], np.uint64)),
        PageRanges(np.array([100, 700], np.uint64), np.array([200, 3], np.uint64)),
    ],
)
def test_tiles_mean_the_same_pages_in_ascending_words(
    pages: Gfns | PageRanges, tile_words: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(w, "TILE_WORDS", tile_words)

    tiles = list(w.tiles_of(pages))

    words = [word for tile in tiles for word in tile.indices().tolist()]
    assert words == sorted(set(words))
    assert max(len(tile.spread().bits) for tile in tiles) <= tile_words
    assert set().union(*map(plane_of, tiles)) == plane_of(w.mask_of(pages))


@pytest.mark.parametrize(
    "at", [5, slice(5, 6), np.array([5])], ids=["one word", "slice", "indices"]
)
def test_a_mask_reads_the_same_whatever_it_is_made_of(at: Any) -> None:
    bits: Any = 0b1010 if isinstance(at, int) else np.array([0b1010], np.uint64)
    mask = w.WordMask(at, bits)
    plane = np.full(8, 0b0110, np.uint64)

    w.drop_bits(plane, mask)

    assert plane.tolist() == [6, 6, 6, 6, 6, 4, 6, 6]
    assert (w.popcount(mask.bits), mask.word_at(0), mask.indices().tolist()) == (2, 5, [5])
    assert (mask.spread().bits.tolist(), mask.spread().indices().tolist()) == ([10], [5])
