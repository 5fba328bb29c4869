"""The file of a recording, and what ships."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.traces.npz import RecordingError
from hacdbs_sim.traces.recording import SHIPPED, Recording, builtin, recording_of

PAGES = st.lists(st.lists(st.integers(0, 1 << 45), max_size=6), min_size=1, max_size=6)


def made(intervals: list[list[int]], **rest: Any) -> Recording:
    return recording_of(
        [np.array(interval, np.uint64) for interval in intervals],
        **{"page_size": 4096, "interval_ns": 5, **rest},
    )


def virtual(recording: Recording) -> list[list[int]]:
    return [
        recording.vpage[recording.written_in(interval)].tolist()
        for interval in range(recording.intervals)
    ]


@given(PAGES)
def test_each_interval_has_its_pages_once_and_ascending(intervals: list[list[int]]) -> None:
    recording = made(intervals)

    assert virtual(recording) == [sorted(set(interval)) for interval in intervals]
    assert (np.diff(recording.vpage.astype(np.int64)) > 0).all()
    assert recording.lengths.tolist() == [len(set(interval)) for interval in intervals]


@given(PAGES, st.booleans())
def test_a_file_loads_as_it_was_saved(intervals: list[list[int]], by_time: bool) -> None:
    length = {"interval_ns": 7} if by_time else {"interval_ns": None}
    recording = made(intervals, instructions_per_interval=None if by_time else 9, **length)
    file = io.BytesIO()

    recording.save(file)
    file.seek(0)
    loaded = Recording.load(file)

    assert virtual(loaded) == virtual(recording)
    assert loaded.page_size == 4096
    assert loaded.interval_ns == recording.interval_ns
    assert loaded.instructions_per_interval == recording.instructions_per_interval
    assert loaded.interval_start.dtype == np.int64
    assert loaded.pages.dtype == np.uint32
    assert loaded.vpage.dtype == np.uint64


@pytest.mark.parametrize("name", SHIPPED)
def test_a_builtin_recording_is_read_once(name: str) -> None:
    recording = builtin(name)

    assert recording is builtin(name)
    assert recording.page_size == 4096
    assert recording.instructions_per_interval in {250_000, 1_000_000}


GOOD: dict[str, Any] = {
    "interval_start": np.array([0, 2]),
    "pages": np.array([0, 1], np.uint32),
    "vpage": np.array([5, 6], np.uint64),
    "page_size": np.int64(4096),
}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pages": None}, "lacks pages"),
        ({"page_size": None, "vpage": None}, "lacks page_size, vpage"),
        ({"pages": np.array([[0, 1]], np.uint32)}, "pages must be one row of integers"),
        ({"vpage": np.array([0.5, 1.5])}, "vpage must be one row of integers"),
        ({"interval_start": np.array([0])}, "interval_start must rise from 0"),
        ({"interval_start": np.array([1, 2])}, "interval_start must rise from 0"),
        ({"interval_start": np.array([0, 1])}, "interval_start must rise from 0"),
        ({"interval_start": np.array([0, 2, 1, 2])}, "interval_start must rise from 0"),
        ({"pages": np.array([0, 2])}, "pages must be 0..1"),
        ({"pages": np.array([-1, 0])}, "pages must be 0..1"),
    ],
)
def test_an_invalid_recording_is_refused(changed: dict[str, Any], message: str) -> None:
    arrays = {name: array for name, array in {**GOOD, **changed}.items() if array is not None}
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)

    with pytest.raises(RecordingError, match=message):
        Recording.load(file)


def test_the_file_that_they_are_spoiled_from_is_a_recording() -> None:
    file = io.BytesIO()
    np.savez(file, **GOOD)
    file.seek(0)

    assert virtual(Recording.load(file)) == [[5, 6]]


def single_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04junk", single_array()])
def test_a_file_that_is_not_npz_is_refused(content: bytes) -> None:
    with pytest.raises(RecordingError, match=r"no \.npz file"):
        Recording.load(io.BytesIO(content))
