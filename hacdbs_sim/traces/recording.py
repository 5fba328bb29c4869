"""A recording of a program's page writes, as an .npz file.

Arrays: `interval_start` int64[n + 1], interval i holds pages[interval_start[i]:interval_start[i + 1]],
ascending, without repeats; `pages` uint32, dense page numbers in the order of virtual addresses;
`vpage` uint64[distinct], the virtual page number of each dense page; `page_size` and
`instructions_per_interval`, int64 scalars. A recording made by the clock has `interval_ns` instead of
the latter. `hacdbs_sim/traces/data` has the builtin ones, PROVENANCE.md there describes how they were made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from os import PathLike
from typing import IO, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from hacdbs_sim.files import open_regular
from hacdbs_sim.model.pages import Intervals
from hacdbs_sim.model.units import PAGE_SIZES_BYTES
from hacdbs_sim.traces.npz import MAX_ELEMENTS, RecordingError, read_arrays

SHIPPED: Final = ("xz", "sqlite", "cc1")
"""Names of the recordings that come with the package."""

_DTYPES: Final = {"interval_start": np.int64, "pages": np.uint32, "vpage": np.uint64}
_SCALARS: Final = ("page_size", "instructions_per_interval", "interval_ns")
_NAMES: Final = (*_DTYPES, *_SCALARS)


MAX_ADDRESS_BITS: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """Which pages a program wrote in each interval of its run; the fields are the file's arrays."""

    interval_start: NDArray[np.int64]
    pages: NDArray[np.uint32]
    vpage: NDArray[np.uint64]
    page_size: int = 4096
    instructions_per_interval: int | None = None
    interval_ns: int | None = None

    @property
    def intervals(self) -> int:
        """Number of intervals."""
        return len(self.interval_start) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many pages each interval wrote."""
        return np.diff(self.interval_start)

    def written_in(self, interval: int) -> NDArray[np.uint32]:
        """Return the dense pages written in an interval."""
        first, end = self.interval_start[interval : interval + 2]
        return self.pages[first:end]

    @classmethod
    def load(cls, file: str | PathLike[str] | IO[bytes]) -> Self:
        """Read an .npz file.

        Raises:
            BadFileError: It cannot be read, or is not a recording (RecordingError).
        """
        if not isinstance(file, str | PathLike):
            return cls(**_checked(read_arrays(file, _NAMES)))
        with open_regular(file) as opened:
            return cls(**_checked(read_arrays(opened, _NAMES)))

    def save(self, file: IO[bytes]) -> None:
        """Write it as an .npz file."""
        found = {name: getattr(self, name) for name in _NAMES}
        arrays: dict[str, Any] = {
            name: np.asarray(value) for name, value in found.items() if value is not None
        }
        np.savez_compressed(file, **arrays)


def recording_of(
    intervals: list[NDArray[np.uint64]],
    *,
    page_size: int,
    instructions_per_interval: int | None = None,
    interval_ns: int | None = None,
) -> Recording:
    """Make a recording of the virtual page numbers that each interval wrote, in any order.

    Raises:
        RecordingError: They are more than a file may have.
    """
    unique = [np.unique(interval) for interval in intervals]
    if sum(map(len, unique)) > MAX_ELEMENTS:
        raise RecordingError(f"it has more than {MAX_ELEMENTS} page records")
    joined = np.concatenate([*unique, np.zeros(0, np.uint64)])
    vpage, dense = np.unique(joined, return_inverse=True)
    lengths = [len(interval) for interval in unique]
    return Recording(
        interval_start=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        pages=dense.astype(np.uint32),
        vpage=vpage,
        page_size=page_size,
        instructions_per_interval=instructions_per_interval,
        interval_ns=interval_ns,
    )


@cache
def builtin(name: str) -> Recording:
    """Read one of `SHIPPED`; the arrays are shared and must not be written."""
    resource = resources.files(__package__) / "data" / f"{name}.npz"
    with resource.open("rb") as file:
        return Recording.load(file)


def _checked(found: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    missing = {*_DTYPES, "page_size"} - found.keys()
    if missing:
        raise RecordingError(f"it lacks {', '.join(sorted(missing))}")
    for name in _DTYPES:
        if found[name].ndim != 1 or found[name].dtype.kind not in "iu":
            raise RecordingError(f"{name} must be one row of integers")
    _check_rows(found["interval_start"], found["pages"], found["vpage"])
    arrays = {name: found[name].astype(dtype) for name, dtype in _DTYPES.items()}
    scalars: dict[str, int] = {
        name: _scalar(name, found[name]) for name in _SCALARS if name in found
    }
    _check_numbers(scalars, arrays["vpage"])
    return arrays | scalars


def _check_rows(start: NDArray[Any], pages: NDArray[Any], vpage: NDArray[Any]) -> None:
    # Compared, not subtracted: the difference of unsigned numbers is never negative
    if len(start) < 2 or start[0] != 0 or start[-1] != len(pages) or (start[1:] < start[:-1]).any():
        raise RecordingError("interval_start must rise from 0 to the number of pages")
    if len(pages) and not 0 <= int(pages.min()) <= int(pages.max()) < len(vpage):
        raise RecordingError(f"pages must be 0..{len(vpage) - 1}, as vpage has them")
    begins = np.zeros(len(pages) + 1, np.bool_)
    begins[start] = True
    if (pages[1:] <= pages[:-1])[~begins[1:-1]].any():
        raise RecordingError("the pages of an interval must ascend, each once")
    if (len(vpage) and int(vpage[0]) < 0) or (vpage[1:] <= vpage[:-1]).any():
        raise RecordingError("vpage must ascend from 0 on, each number once")


def _scalar(name: str, value: NDArray[Any]) -> int:
    if value.ndim or value.dtype.kind not in "iu" or int(value) < 1:
        raise RecordingError(f"{name} must be one positive integer")
    return int(value)


def _check_numbers(scalars: Mapping[str, int], vpage: NDArray[np.uint64]) -> None:
    page_size = scalars["page_size"]
    if page_size not in PAGE_SIZES_BYTES:
        names = ", ".join(map(str, PAGE_SIZES_BYTES))
        raise RecordingError(f"page_size must be one of {names}, not {page_size}")
    if len(vpage) and int(vpage[-1]) * page_size >> MAX_ADDRESS_BITS:
        raise RecordingError(f"vpage must be of addresses of {MAX_ADDRESS_BITS} bits")


def builtin_intervals(name: str) -> Intervals:
    """Return what a builtin recording wrote, as a machine replays it."""
    recording = builtin(name)
    return Intervals(recording.interval_start, recording.pages)
