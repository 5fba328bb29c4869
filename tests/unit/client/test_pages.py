"""Pages, ranges and bitmaps are converted without loss; invalid ones are rejected."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.client import FetchedLog
from hacdbs_sim.client.bodies import access_body
from hacdbs_sim.client.pages import (
    LogWindow,
    bitmap_of,
    octets_of,
    page_numbers,
    ranges_of,
)
from hacdbs_sim.model import Bitmap, pages_of
from hacdbs_sim.wire.codec import words_from_octets

SETS = st.sets(st.integers(0, 999))


@given(SETS, st.integers(1, 1_000))
def test_a_mask_is_whole_words_and_comes_back(pages: set[int], npages: int) -> None:
    mask = np.isin(np.arange(npages), list(pages))

    bitmap = bitmap_of(mask)

    assert bitmap.size == -(-npages // 64)
    assert np.array_equal(log_of(pages, npages).mask(), mask)
    assert pages_of(bitmap).tolist() == sorted(page for page in pages if page < npages)
    assert np.array_equal(words_from_octets(octets_of(bitmap), "bitmap"), bitmap)


def test_bit_0_of_the_first_octet_is_the_first_page() -> None:
    mask = np.zeros(64, dtype=np.bool_)
    mask[[0, 9]] = True

    assert octets_of(bitmap_of(mask)) == bytes([1, 2, 0, 0, 0, 0, 0, 0])


@given(st.lists(st.integers(0, (1 << 64) - 1) | st.integers(0, 70)))
def test_ranges_hold_the_pages_once_and_do_not_touch(numbers: list[int]) -> None:
    ranges = ranges_of(np.array(numbers, dtype=np.uint64))

    assert sum(count for _, count in ranges) == len(set(numbers))
    assert all(any(first <= n < first + count for first, count in ranges) for n in numbers)
    ends = [first + count for first, count in ranges]
    assert all(end < first for end, (first, _) in zip(ends, ranges[1:], strict=False))


@pytest.mark.parametrize(
    ("numbers", "refusal"),
    [
        ([-1, 5], ValueError),
        ([0.5], TypeError),
        ([True, False], TypeError),
        (np.zeros((2, 2), dtype=np.int64), ValueError),
        ([-1, 1 << 63], ValueError),
        ([1 << 64], ValueError),
        (["5"], TypeError),
    ],
)
def test_an_invalid_page_number_is_rejected(numbers: list[int], refusal: type[Exception]) -> None:
    with pytest.raises(refusal, match="gfns must"):
        page_numbers(numbers, "gfns")


@pytest.mark.parametrize(
    ("numbers", "what"),
    [
        (0x40000, "a list, an array or a range, not an int; for one page write [0x40000]"),
        (np.uint64(5), "a list, an array or a range, not an int; for one page write [0x5]"),
        (0.5, "a list, an array or a range, not 0.5"),
        (["0x40000"], "integers, not strings"),
        ("0x40000", "integers, not strings"),
    ],
)
def test_what_is_no_list_of_integers_is_named(numbers: Any, what: str) -> None:
    with pytest.raises(TypeError, match=f"^gfns must be {re.escape(what)}$"):
        access_body(numbers, None)


def test_page_numbers_come_from_anything_that_gives_integers() -> None:
    for numbers in ([3, 1, 1 << 63], (n for n in (3, 1, 1 << 63))):
        assert page_numbers(numbers, "gfns").tolist() == [3, 1, 1 << 63]
    assert page_numbers([], "gfns").size == 0
    assert page_numbers(np.array([3, 1], dtype=np.int32), "gfns").dtype == np.uint64


def log_of(pages: set[int], npages: int) -> FetchedLog:
    return FetchedLog(
        slot=0,
        first_page=0,
        num_pages=npages,
        dirty_count=len(pages),
        remaining_count=0,
        bitmap=Bitmap(bitmap_of(np.isin(np.arange(npages), list(pages)))),
    )


@given(SETS, st.integers(1, 6))
def test_windows_cut_a_log_without_loss(pages: set[int], words: int) -> None:
    log = log_of(pages, 1_000)

    windows = list(log.windows(64 * words))

    assert [page for window in windows for page in window.pages()] == sorted(pages)
    assert sum(window.num_pages for window in windows) == 1_000
    assert all(window.bitmap.size == -(-window.num_pages // 64) for window in windows)


@pytest.mark.parametrize("num_pages", [0, 63, 100, -64])
def test_windows_are_of_whole_words(num_pages: int) -> None:
    with pytest.raises(ValueError, match="must be a multiple of 64"):
        list(log_of({1}, 200).windows(num_pages))


def test_a_window_holds_only_its_own_pages() -> None:
    window = LogWindow.holding(np.array([64, 70], dtype=np.uint64), 64, 64)
    assert window.pages().tolist() == [64, 70]

    for page in (63, 128):
        with pytest.raises(ValueError, match=r"must lie in 64\.\.127"):
            LogWindow.holding(np.array([page], dtype=np.uint64), 64, 64)


def test_a_log_compares_by_value_and_shows_little() -> None:
    log = log_of({1, 70}, 200)

    assert log == log_of({1, 70}, 200)
    assert log != log_of({1, 71}, 200)
    assert log != log.words.tolist()
    assert log.window() == log_of({1, 70}, 200).window() != log_of({2}, 200).window()
    assert log.window() != 5
    assert repr(log) == "<FetchedLog of slot 0: 2 of 200 pages dirty, 0 remaining>"
    assert repr(log.window()) == "LogWindow(first_page=0, num_pages=200)"
