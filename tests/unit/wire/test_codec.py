"""The codecs against the plainest thing that could say the same: Python sets."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model.errors import InvalidArgumentError
from hacdbs_sim.wire import codec

pages = st.lists(
    st.one_of(st.integers(0, 255), st.sampled_from([0, 63, 64, 127, 128, 255])), max_size=80
).map(set)
runs = st.lists(st.tuples(st.integers(0, 250), st.integers(1, 130)), max_size=5).map(
    lambda pairs: {page for first, count in pairs for page in range(first, min(first + count, 256))}
)


def words_of(dirty: set[int]) -> codec.Words:
    words = [0, 0, 0, 0]
    for page in dirty:
        words[page // 64] |= 1 << page % 64
    return np.array(words, dtype=np.uint64)


def ranges_of(words: codec.Words) -> list[list[int]]:
    table: list[list[int]] = np.asarray(codec.range_table(words), np.int64).reshape(-1, 2).tolist()
    return table


@given(pages | runs)
def test_ranges_are_the_runs_of_neighbouring_pages(dirty: set[int]) -> None:
    ranges = ranges_of(words_of(dirty))

    assert {page for first, count in ranges for page in range(first, first + count)} == dirty
    assert sum(count for _, count in ranges) == len(dirty)
    ends = [first + count for first, count in ranges]
    assert all(end < first for end, (first, _) in zip(ends, ranges[1:], strict=False))
    assert codec.count_ranges(words_of(dirty)) == len(ranges)


@given(pages | runs)
def test_base64_and_octets_go_there_and_back(dirty: set[int]) -> None:
    words = words_of(dirty)

    text = codec.base64_from_words(words)

    assert codec.words_from_base64(text, "bitmap").tolist() == words.tolist()
    assert codec.octets_from_words(words) == base64.b64decode(text)
    assert len(codec.octets_from_words(words)) == 32


def test_words_are_little_endian_and_bit_0_is_the_first_page() -> None:
    assert codec.octets_from_words(words_of({0, 9, 64})) == b"\1\2" + bytes(6) + b"\1" + bytes(23)


def test_an_empty_bitmap_has_no_ranges() -> None:
    assert ranges_of(np.array([], dtype=np.uint64)) == []


def test_half_words_are_refused_by_name() -> None:
    with pytest.raises(InvalidArgumentError, match="gfns must be a multiple of 8 bytes, not 9"):
        codec.words_from_octets(b"123456789", "gfns")


@pytest.mark.parametrize(("ranges", "is_refused"), [(65_536, False), (65_537, True)])
def test_an_answer_carries_a_bounded_number_of_ranges(ranges: int, *, is_refused: bool) -> None:
    words = np.full((2 * ranges + 63) // 64, 0x5555_5555_5555_5555, dtype=np.uint64)
    words[-1] &= np.uint64((1 << (2 * ranges - 1) % 64 + 1) - 1)

    if is_refused:
        with pytest.raises(codec.TooManyRangesError) as refused:
            codec.check_ranges(words)
        assert refused.value.value == ranges
    else:
        codec.check_ranges(words)
