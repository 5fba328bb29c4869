"""Reading of .npz files without trusting them: a zip of arrays of integers (numpy.lib.format).

Names, sizes and shapes are checked before an array is read, so that a file takes no more memory than
an array of MAX_ELEMENTS for each of its names.
"""

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from math import prod
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hacdbs_sim.files import BadFileError, first_line_of
from hacdbs_sim.sim.guest.trace import MAX_RECORDS

MAX_ELEMENTS: Final = MAX_RECORDS
"""As many page records as a machine replays."""

MAX_FILE_BYTES: Final = 256 << 20
MAX_MEMBER_BYTES: Final = 8 * (MAX_ELEMENTS + 1) + (1 << 10)
MAX_EXPANSION: Final = 200
FREE_BYTES: Final = 64 << 20
"""A file whose arrays take more than this may take at most MAX_EXPANSION times its own size."""

MAX_DIRECTORY_BYTES: Final = 1 << 12
"""Of a zip's directory: zipfile makes an object of each entry when it opens the file."""

_END: Final = struct.Struct("<4s4H2LH")
_END_MAGIC: Final = b"PK\5\6"
_MAX_COMMENT: Final = 1 << 16
_LOCATOR_MAGIC: Final = b"PK\6\7"
_LOCATOR_BYTES: Final = 20
_ENCRYPTED: Final = 1
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_HEADERS: Final = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}

_ANY_FAULT: Final = (
    *(ValueError, EOFError, OSError, OverflowError, MemoryError, RecursionError, SyntaxError),
    *(RuntimeError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What zipfile and numpy raise on malformed files."""


class RecordingError(BadFileError):
    """A file is not a valid recording; the message says why."""


def read_arrays(file: IO[bytes], names: Iterable[str]) -> Mapping[str, NDArray[Any]]:
    """Read those of the named arrays that a file has, which has no others.

    Raises:
        RecordingError: It is no such file, or exceeds a bound.
    """
    try:
        return _read(file, {f"{name}.npy": name for name in names})
    except RecordingError:
        raise
    except _ANY_FAULT as cause:
        raise RecordingError(f"it is no .npz file: {first_line_of(cause)}") from cause


def _read(file: IO[bytes], names: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    size = file.seek(0, 2)
    if size > MAX_FILE_BYTES:
        raise RecordingError(f"it has {size} bytes, and a recording has at most {MAX_FILE_BYTES}")
    _check_directory(file, size)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        _check_members(members, names, size)
        return {names[each.filename]: _array(archive, each) for each in members}


def _check_directory(file: IO[bytes], size: int) -> None:
    tail_bytes = min(size, _MAX_COMMENT + _END.size + _LOCATOR_BYTES)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    at = tail.rfind(_END_MAGIC)
    if at < 0:
        raise RecordingError("it is no .npz file: File is not a zip file")
    *_, directory_bytes, _, _ = _END.unpack_from(tail, at)
    is_64 = tail[max(at - _LOCATOR_BYTES, 0) : at].startswith(_LOCATOR_MAGIC)
    if is_64 or directory_bytes > MAX_DIRECTORY_BYTES:
        raise RecordingError("it is no recording: its zip has too many members")


def _check_members(
    members: list[zipfile.ZipInfo], names: Mapping[str, str], file_bytes: int
) -> None:
    known = set(names)
    for each in members:
        if each.filename not in known:
            what = "twice" if each.filename in names else "which no recording has"
            raise RecordingError(f"it is no recording: it holds {each.filename[:64]!r}, {what}")
        known.discard(each.filename)
        if each.flag_bits & _ENCRYPTED:
            raise RecordingError(f"{each.filename} is encrypted")
        if each.compress_type not in _METHODS:
            raise RecordingError(f"{each.filename} must be stored or deflated")
        if each.file_size > MAX_MEMBER_BYTES:
            raise RecordingError(
                f"{names[each.filename]} takes {each.file_size} bytes, and may take {MAX_MEMBER_BYTES}"
            )
    expanded = sum(each.file_size for each in members)
    if expanded > max(FREE_BYTES, MAX_EXPANSION * file_bytes):
        raise RecordingError(
            f"its {file_bytes} bytes become {expanded}, more than {MAX_EXPANSION} times as many"
        )


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        if version not in _HEADERS:
            raise RecordingError(f"{name} has version {version} of the .npy format, not 1.0 or 2.0")
        shape, _, dtype = _HEADERS[version](stream)
        if dtype.kind not in "iu" or len(shape) > 1:
            row = "one row of integers, or one integer"
            raise RecordingError(f"{name} must be {row}, not {dtype} of shape {shape}")
        if prod(shape) > MAX_ELEMENTS + 1:
            raise RecordingError(f"{name} has {prod(shape)} elements, and may have {MAX_ELEMENTS}")
        expected = prod(shape) * dtype.itemsize
        if expected != (found := member.file_size - stream.tell()):
            raise RecordingError(
                f"{name} has {found} bytes, and its shape {shape} needs {expected}"
            )
        return np.frombuffer(stream.read(expected), dtype).reshape(shape)
