"""Import of the output of valgrind's lackey with `--trace-mem=yes`.

Each line is an access: `I  04001000,3` an instruction, ` L` a load, ` S` a store, ` M` both, with the
address in hexadecimal and the size in bytes. All other lines (valgrind's own, the program's) are skipped
and counted. Lines end with LF or CRLF. An interval is a number of instructions; what is left at the end is
the last one.
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.traces.npz import MAX_ELEMENTS, RecordingError
from hacdbs_sim.traces.recording import Recording, recording_of

PAGE_SIZE: Final = 4096
DEFAULT_INTERVAL_INSTRUCTIONS: Final = 1_000_000
CHUNK_BYTES: Final = 1 << 24
MAX_LINE_BYTES: Final = 1 << 20
"""Lines of valgrind are far shorter: input with a longer one is not lackey's output."""

MAX_INTERVALS: Final = 1 << 20

MAX_PAGES_OF_ACCESS: Final = 4
"""A size has four digits at most, so an access ends three pages behind its first at most."""

_PAGE_SHIFT: Final = np.uint64(12)
_NO_DIGIT: Final = 255
_I, _S, _M, _SPACE, _COMMA, _NEWLINE = b"ISM ,\n"


_VALUE_OF: Final = np.full(256, _NO_DIGIT, np.uint8)
for _digit in string.hexdigits:
    _VALUE_OF[ord(_digit)] = int(_digit, 16)


@dataclass(slots=True)
class _Import:
    """What has been read so far: pages by interval, the last one perhaps not whole."""

    interval_instructions: int
    instructions: int = 0
    other_lines: int = 0
    records: int = 0
    intervals: list[NDArray[np.uint64]] = field(default_factory=list)

    def add(self, text: NDArray[np.uint8]) -> None:
        """Take whole lines, each with its end."""
        ends = np.flatnonzero(text == _NEWLINE)
        starts = np.concatenate([[0], ends[:-1] + 1])
        long = ends - starts >= 5  # the shortest access is " S 0,1"
        first = text[starts]
        second = text[np.minimum(starts + 1, ends)]
        third = text[np.minimum(starts + 2, ends)]
        is_instruction = long & (first == _I) & (second == _SPACE) & (third == _SPACE)
        is_access = long & (first == _SPACE) & (third == _SPACE)
        is_store = is_access & ((second == _S) | (second == _M))
        self.other_lines += int(np.count_nonzero(~(is_instruction | is_access)))
        executed = self.instructions + np.cumsum(is_instruction)
        # An access belongs to the instruction before it, which is number `executed` from 1.
        interval = np.maximum(executed - 1, 0) // self.interval_instructions
        address, size, is_sound = _accesses(text, starts[is_store] + 3)
        self.other_lines += int(np.count_nonzero(~is_sound))
        self._write(interval[is_store][is_sound], address[is_sound], size[is_sound])
        self.instructions = int(executed[-1])

    def _write(
        self, interval: NDArray[np.int64], address: NDArray[np.uint64], size: NDArray[np.uint64]
    ) -> None:
        page = address >> _PAGE_SHIFT
        last = (address + size - np.uint64(1)) >> _PAGE_SHIFT
        offsets = range(MAX_PAGES_OF_ACCESS)
        reached = [page + np.uint64(offset) <= last for offset in offsets]
        page = np.concatenate([page[reached[n]] + np.uint64(n) for n in offsets])
        interval = np.concatenate([interval[reached[n]] for n in offsets])
        order = np.argsort(interval, kind="stable")
        numbers, begins = np.unique(interval[order], return_index=True)
        for number, pages in zip(numbers.tolist(), np.split(page[order], begins[1:]), strict=False):
            self._reach(number)
            joined = np.union1d(self.intervals[number], pages)
            self.records += len(joined) - len(self.intervals[number])
            self.intervals[number] = joined
        if self.records > MAX_ELEMENTS:
            raise RecordingError(
                f"it has more than {MAX_ELEMENTS} page records: take longer intervals"
            )

    def _reach(self, interval: int) -> None:
        if interval >= MAX_INTERVALS:
            raise RecordingError(f"it has more than {MAX_INTERVALS} intervals: take longer ones")
        while len(self.intervals) <= interval:
            self.intervals.append(np.zeros(0, np.uint64))

    def finish(self) -> Recording:
        """Make the recording."""
        if not self.instructions:
            raise RecordingError(
                "it has no instruction of lackey's: run valgrind with --tool=lackey --trace-mem=yes"
            )
        self._reach((self.instructions - 1) // self.interval_instructions)
        return recording_of(
            self.intervals,
            page_size=PAGE_SIZE,
            instructions_per_interval=self.interval_instructions,
        )


def _accesses(
    text: NDArray[np.uint8], at: NDArray[np.intp]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]]:
    """Read `address,size` at places of the text; return where the text has that form."""
    address, end = _number(text, at, base=16, max_digits=16)
    has_comma = (end > at) & (text[np.minimum(end, len(text) - 1)] == _COMMA)
    size, line_end = _number(text, end + 1, base=10, max_digits=4)
    ends_there = text[np.minimum(line_end, len(text) - 1)] == _NEWLINE
    is_inside = address <= address + size - np.uint64(1)  # below 2^64
    return address, size, has_comma & ends_there & (size > 0) & is_inside


def _number(
    text: NDArray[np.uint8], at: NDArray[np.intp], *, base: int, max_digits: int
) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Read a number at each place; return it and where it ends."""
    value = np.zeros(len(at), np.uint64)
    end = at.copy()
    for _ in range(max_digits):
        digit = _VALUE_OF[text[np.minimum(end, len(text) - 1)]]
        is_digit = digit < base
        value = np.where(is_digit, value * np.uint64(base) + digit, value)
        # A number that has ended keeps its end, so it is never continued.
        end = end + is_digit
        if not is_digit.any():
            break
    return value, end


def import_lackey(
    source: IO[bytes], interval_instructions: int = DEFAULT_INTERVAL_INSTRUCTIONS
) -> tuple[Recording, int]:
    """Read lackey's output to its end; return the recording, and how many lines were skipped.

    Raises:
        RecordingError: It has no instruction at all, a line that is too long, or too many intervals.
    """
    work = _Import(interval_instructions)
    for lines in _whole_lines(source):
        work.add(np.frombuffer(lines, np.uint8))
    return work.finish(), work.other_lines


def _whole_lines(source: IO[bytes]) -> Iterator[bytes]:
    """Cut a stream into chunks that end with a line's end, LF; the last line gets one if it has none."""
    rest = b""
    while chunk := source.read(CHUNK_BYTES):
        rest += chunk
        cut = rest.rfind(b"\n") + 1
        if len(rest) - cut > MAX_LINE_BYTES:
            raise RecordingError(
                f"it has a line of more than {MAX_LINE_BYTES} bytes: it is no text"
            )
        if cut:
            yield rest[:cut].replace(b"\r\n", b"\n")
            rest = rest[cut:]
    if rest:
        yield (rest + b"\n").replace(b"\r\n", b"\n")
