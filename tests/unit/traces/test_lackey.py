"""Import of lackey's output, against a reader that takes one line after another."""

import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from hacdbs_sim.traces import lackey
from hacdbs_sim.traces.lackey import import_lackey
from hacdbs_sim.traces.npz import RecordingError

REAL = Path(__file__).with_name("true.lackey").read_bytes()
STORE = re.compile(rb" [SM] ([0-9a-fA-F]{1,16}),([1-9][0-9]{0,3})")
INSTRUCTION = re.compile(rb"I  .{2,}")


def read_by_line(text: bytes, interval_instructions: int) -> list[set[int]]:
    """Virtual pages by interval."""
    intervals: list[set[int]] = [set()]
    instructions = 0
    for line in text.replace(b"\r\n", b"\n").split(b"\n"):
        if INSTRUCTION.fullmatch(line):
            if instructions and instructions % interval_instructions == 0:
                intervals.append(set())
            instructions += 1
        elif (store := STORE.fullmatch(line)) is not None:
            first, size = int(store[1], 16), int(store[2])
            if (last := first + size - 1) < 1 << 64:
                intervals[-1] |= set(range(first >> 12, (last >> 12) + 1))
    return intervals


def imported(text: bytes, interval_instructions: int) -> list[set[int]]:
    recording, _ = import_lackey(io.BytesIO(text), interval_instructions)
    return [
        {int(recording.vpage[page]) for page in recording.written_in(interval)}
        for interval in range(recording.intervals)
    ]


@pytest.mark.parametrize("interval_instructions", [1, 7, 100, 10**6])
def test_real_output_is_read_as_line_by_line(interval_instructions: int) -> None:
    assert imported(REAL, interval_instructions) == read_by_line(REAL, interval_instructions)


ADDRESSES = st.integers(0, (1 << 57) - 1) | st.sampled_from(
    [0xFFF, 0x1FF9, 0x1FFF, 0x2000, (1 << 64) - 1, (1 << 64) - 4096]
)
LINES = st.one_of(
    st.builds(lambda a, n: b"I  %08x,%d" % (a, n), ADDRESSES, st.integers(1, 15)),
    st.builds(
        lambda kind, a, n: b" %s %08x,%d" % (kind, a, n),
        st.sampled_from([b"S", b"M", b"L"]),
        ADDRESSES,
        st.integers(1, 512) | st.integers(1, 9999),
    ),
    st.sampled_from(
        (
            *(b"", b" ", b" S", b" S ,4", b" S 12", b" S 12,", b" S 12,0", b" S 12,x", b" S 12g,4"),
            *(b" S 12,4 ", b"==1== S 12,4", b"S 12,4", b" S 12,99999", b" Surprise", b"I", b"I  "),
            *(b" S 12345678123456781,4", b" S  12,4"),
        )
    ),
)


@given(st.lists(LINES, max_size=40), st.integers(1, 5), st.booleans(), st.booleans())
def test_any_text_is_read_as_line_by_line(
    lines: list[bytes], interval_instructions: int, ends: bool, has_crlf: bool
) -> None:
    end = b"\r\n" if has_crlf else b"\n"
    text = end.join([b"I  04000000,3", *lines]) + end * ends

    assert imported(text, interval_instructions) == read_by_line(text, interval_instructions)


@pytest.mark.parametrize("chunk_bytes", [1, 13, 4096])
def test_where_the_stream_is_cut_does_not_show(
    monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(lackey, "CHUNK_BYTES", chunk_bytes)

    assert imported(REAL, 50) == read_by_line(REAL, 50)


def test_lines_that_are_no_access_are_counted() -> None:
    text = b"==1== hello\nI  04000000,3\n S 1000,8\n S nonsense\n\n L 1000,8\n"

    recording, passed_over = import_lackey(io.BytesIO(text), 10)

    assert passed_over == 3
    assert recording.vpage.tolist() == [1]


def test_a_store_across_two_pages_writes_both() -> None:
    assert imported(b"I  04000000,3\n S 1ffc,8\n", 10) == [{1, 2}]


@pytest.mark.parametrize(
    ("store", "pages"),
    [
        (b" S 1fff,9999", {1, 2, 3, 4}),
        (b" S 1000,4096", {1}),
        (b" S 1001,4096", {1, 2}),
        (b" M 1fff,8194", {1, 2, 3, 4}),
        (b" S 1fff,4098", {1, 2, 3}),
        (b" S ffffffffffffffff,1", {(1 << 52) - 1}),
        (b" S ffffffffffffffff,2", set()),
    ],
)
def test_a_store_over_several_pages_writes_each(store: bytes, pages: set[int]) -> None:
    assert imported(b"I  04000000,3\n" + store + b"\n", 10) == [pages]


def test_lines_of_windows_are_read() -> None:
    text = REAL.replace(b"\n", b"\r\n")

    assert imported(text, 50) == read_by_line(REAL, 50)
    _, skipped = import_lackey(io.BytesIO(text), 50)
    assert skipped == import_lackey(io.BytesIO(REAL), 50)[1]


class Zeros(io.RawIOBase):
    """A stream without an end, as /dev/zero."""

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int:
        return len(buffer)


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(RecordingError, match="a line of more than 1048576 bytes"):
        import_lackey(io.BufferedReader(Zeros()), 10)


def test_more_than_a_recording_may_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"".join(b"I  04000000,3\n S %x,8\n" % (page << 12) for page in range(8))

    monkeypatch.setattr(lackey, "MAX_INTERVALS", 7)
    with pytest.raises(RecordingError, match="more than 7 intervals"):
        import_lackey(io.BytesIO(text), 1)
    assert import_lackey(io.BytesIO(text), 2)[0].intervals == 4
    monkeypatch.setattr(lackey, "MAX_ELEMENTS", 7)
    with pytest.raises(RecordingError, match="more than 7 page records"):
        import_lackey(io.BytesIO(text), 2)


def test_intervals_that_write_nothing_are_there() -> None:
    assert imported(b"I  04000000,3\n" * 4 + b" S 1000,8\n" + b"I  04000000,3\n", 2) == [
        set(),
        {1},
        set(),
    ]


def test_it_says_how_it_was_made() -> None:
    recording, _ = import_lackey(io.BytesIO(REAL), 100)

    assert recording.instructions_per_interval == 100
    assert recording.interval_ns is None
    assert recording.page_size == 4096


@pytest.mark.parametrize("text", [b"", b"hello\n", b" S 1000,8\n", b"==1== x"])
def test_text_without_an_instruction_is_refused(text: bytes) -> None:
    with pytest.raises(RecordingError, match="no instruction of lackey's"):
        import_lackey(io.BytesIO(text), 10)
