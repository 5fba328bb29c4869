"""Recording of a running program by the kernel's soft-dirty bits (Documentation/admin-guide/mm/soft-dirty.rst).

Writing 4 to /proc/PID/clear_refs write-protects all pages of a process; bit 55 of a page's entry in
/proc/PID/pagemap then has whether it has been written since. Kernels built without
CONFIG_MEM_SOFT_DIRTY have the files and never set the bit, so a page of our own is tried first. The
program runs on while it is read: what it writes between a read and the next clearing is missed.
"""

import mmap
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.traces.npz import RecordingError
from hacdbs_sim.traces.recording import Recording, recording_of

PROC: Final = Path("/proc")
_CLEAR_SOFT_DIRTY: Final = b"4"
_SOFT_DIRTY: Final = np.uint64(1 << 55)
_ENTRIES_AT_ONCE: Final = 1 << 20
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4})")


def has_soft_dirty() -> bool:
    """Return whether this kernel keeps soft-dirty bits, by a page of our own."""
    page_size = mmap.PAGESIZE
    with mmap.mmap(-1, 2 * page_size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        place = np.frombuffer(memory, np.uint8)
        first = int(place.__array_interface__["data"][0])
        memory[0] = 1
        memory[page_size] = 1
        try:
            _clear(PROC / "self")
            memory[0] = 2
            entries = _entries(PROC / "self", first // page_size, 2)
        except OSError:
            return False
        finally:
            del place  # or the mapping could not be closed
    written, left = (entries & _SOFT_DIRTY).tolist()
    return bool(written) and not left


def record(
    pid: int,
    *,
    intervals: int,
    interval_ns: int,
    proc: Path = PROC,
    sleep: Callable[[float], None] = time.sleep,
) -> Recording:
    """Record which pages a process writes, for so many intervals or until it ends.

    Raises:
        RecordingError: no such process, it may not be read, or it ended at once.
    """
    process = proc / str(pid)
    written: list[NDArray[np.uint64]] = []
    try:
        for _ in range(intervals):
            _clear(process)
            sleep(interval_ns / 1e9)
            written.append(_written_pages(process))
    except ProcessLookupError:
        pass  # it has ended; what was recorded stands
    except FileNotFoundError:
        if not written:
            raise RecordingError(f"there is no process {pid}") from None
    except PermissionError:
        raise RecordingError(f"process {pid} is another user's: it may not be read") from None
    if not written:
        raise RecordingError(f"process {pid} ended before one interval was over")
    return recording_of(written, page_size=mmap.PAGESIZE, interval_ns=interval_ns)


def _clear(process: Path) -> None:
    with (process / "clear_refs").open("wb", buffering=0) as file:
        file.write(_CLEAR_SOFT_DIRTY)


def _written_pages(process: Path) -> NDArray[np.uint64]:
    found = [np.zeros(0, np.uint64)]
    for first, end in _writable(process):
        for start in range(first, end, _ENTRIES_AT_ONCE):
            entries = _entries(process, start, min(end - start, _ENTRIES_AT_ONCE))
            found.append(np.flatnonzero(entries & _SOFT_DIRTY).astype(np.uint64) + np.uint64(start))
    return np.concatenate(found)


def _writable(process: Path) -> Iterator[tuple[int, int]]:
    """Return the writable mappings, as virtual page numbers [first, end)."""
    for line in (process / "maps").read_text(encoding="utf-8", errors="replace").splitlines():
        mapping = _MAPPING.match(line)
        if mapping is not None and mapping[3][1] == "w":
            yield int(mapping[1], 16) // mmap.PAGESIZE, int(mapping[2], 16) // mmap.PAGESIZE


def _entries(process: Path, first_page: int, count: int) -> NDArray[np.uint64]:
    with (process / "pagemap").open("rb", buffering=0) as file:
        file.seek(first_page * 8)
        return np.frombuffer(file.read(count * 8), np.uint64)
