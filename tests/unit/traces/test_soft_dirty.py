"""Recording a running process: its reading of /proc on files like the kernel's, and a real child."""

import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hacdbs_sim.traces import soft_dirty
from hacdbs_sim.traces.npz import RecordingError
from hacdbs_sim.traces.soft_dirty import has_soft_dirty, record

PAGE = mmap.PAGESIZE
DIRTY = 1 << 55 | 1 << 63
CLEAN = 1 << 63


class ProcOfOne:
    """A /proc with one process of two writable mappings, whose soft-dirty bits a test sets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process = root / "42"
        self.process.mkdir()
        self.process.joinpath("maps").write_text(
            f"{16 * PAGE:x}-{20 * PAGE:x} rw-p 00000000 00:00 0 [heap]\n"
            f"{20 * PAGE:x}-{24 * PAGE:x} r--p 00000000 00:00 0 /lib\n"
            f"{40 * PAGE:x}-{42 * PAGE:x} rw-s 00000000 00:00 0\n"
            "nonsense\n"
        )
        self.process.joinpath("clear_refs").write_bytes(b"")
        self.write()

    def write(self, *pages: int) -> None:
        entries = np.full(42, CLEAN, np.uint64)
        entries[list(pages)] = DIRTY
        self.process.joinpath("pagemap").write_bytes(entries.tobytes())

    def vanish(self) -> None:
        for file in self.process.iterdir():
            file.unlink()


@pytest.fixture
def proc(tmp_path: Path) -> ProcOfOne:
    return ProcOfOne(tmp_path)


def steps(*steps: Callable[[], None]) -> Callable[[float], None]:
    """Do one step in each interval, and see that it is as long as asked."""
    left = iter(steps)

    def sleep(seconds: float) -> None:
        assert seconds == 0.25
        next(left)()

    return sleep


def test_each_interval_has_the_writable_pages_whose_bit_is_set(proc: ProcOfOne) -> None:
    recording = record(
        42,
        intervals=3,
        interval_ns=250_000_000,
        proc=proc.root,
        sleep=steps(
            lambda: proc.write(16, 19, 21, 40),
            proc.write,
            lambda: proc.write(41),
        ),
    )

    assert recording.vpage.tolist() == [16, 19, 40, 41]
    assert recording.lengths.tolist() == [3, 0, 1]
    assert recording.interval_ns == 250_000_000
    assert recording.page_size == PAGE
    assert proc.process.joinpath("clear_refs").read_bytes() == b"4"


def test_long_mappings_are_read_piece_by_piece(
    proc: ProcOfOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soft_dirty, "_ENTRIES_AT_ONCE", 3)

    recording = record(
        42,
        intervals=1,
        interval_ns=250_000_000,
        proc=proc.root,
        sleep=steps(lambda: proc.write(18, 19)),
    )

    assert recording.vpage.tolist() == [18, 19]


def test_recorded_intervals_are_kept_when_the_process_ends(proc: ProcOfOne) -> None:
    recording = record(
        42,
        intervals=9,
        interval_ns=250_000_000,
        proc=proc.root,
        sleep=steps(lambda: proc.write(16), proc.vanish),
    )

    assert recording.lengths.tolist() == [1]


def test_a_process_that_is_not_there_is_refused(proc: ProcOfOne) -> None:
    with pytest.raises(RecordingError, match="no process 43"):
        record(43, intervals=1, interval_ns=1, proc=proc.root)


def end_of_process(_: float) -> None:
    raise ProcessLookupError


def test_a_process_that_ends_at_once_is_refused(proc: ProcOfOne) -> None:
    with pytest.raises(RecordingError, match="process 42 ended before one interval was over"):
        record(42, intervals=1, interval_ns=1, proc=proc.root, sleep=end_of_process)


def forbidden(_: float) -> None:
    raise PermissionError


def test_a_process_of_another_user_is_refused(proc: ProcOfOne) -> None:
    with pytest.raises(RecordingError, match="process 42 is another user's"):
        record(42, intervals=1, interval_ns=1, proc=proc.root, sleep=forbidden)


def test_a_kernel_without_the_files_has_no_soft_dirty_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soft_dirty, "PROC", tmp_path)

    assert not has_soft_dirty()


CHILD = """
import mmap, sys
memory = mmap.mmap(-1, 64 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for page in range(64):
    memory[page * mmap.PAGESIZE] = 1
print("ready", flush=True)
for line in sys.stdin:
    for page in range(0, 64, 2):
        memory[page * mmap.PAGESIZE] = 2
    print("written", flush=True)
"""


def test_a_real_child_is_recorded_where_the_kernel_can() -> None:
    if not has_soft_dirty():
        pytest.skip(f"kernel {os.uname().release} keeps no soft-dirty bits")
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(  # noqa: S603 - our own
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        stdin, stdout = child.stdin, child.stdout
        assert stdin is not None
        assert stdout is not None

        def have_it_write(_seconds: float) -> None:
            stdin.write("go\n")
            assert stdout.readline() == "written\n"

        try:
            assert stdout.readline() == "ready\n"
            recording = record(child.pid, intervals=3, interval_ns=1, sleep=have_it_write)
        finally:
            child.kill()

    even = recording.vpage[np.bincount(recording.pages) == 3]
    runs = np.diff(even.astype(np.int64))
    assert np.count_nonzero(runs == 2) >= 31
