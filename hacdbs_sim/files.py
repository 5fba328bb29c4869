"""Files that a user names: regular ones, read up to a bound. Errors say what is wrong, without the name."""

import os
import stat
from collections.abc import Callable
from os import PathLike
from typing import IO, Final

_KINDS: Final[tuple[tuple[Callable[[int], bool], str], ...]] = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISSOCK, "a socket"),
)
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)
"""To open a FIFO would wait for a writer."""


class BadFileError(ValueError):
    """A file cannot be read, or does not hold what it should; the message says what, for `FILE: what`."""


def open_regular(path: str | PathLike[str]) -> IO[bytes]:
    """Open a regular file for reading.

    Raises:
        BadFileError: It is absent, may not be read, or is something else.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | _NO_WAIT)
    except OSError as error:
        raise BadFileError(error.strerror or str(error)) from None
    except ValueError as error:  # a NUL in the name
        raise BadFileError(str(error)) from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no file")
        raise BadFileError(f"is {kind}, not a regular file")
    return os.fdopen(descriptor, "rb")


def read_all(file: IO[bytes], max_bytes: int) -> bytes:
    """Read a stream to its end.

    Raises:
        BadFileError: It is longer than the bound, or cannot be read.
    """
    try:
        octets = file.read(max_bytes + 1)
    except OSError as error:
        raise BadFileError(error.strerror or str(error)) from None
    if len(octets) > max_bytes:
        raise BadFileError(f"has more than {max_bytes} bytes")
    return octets


def read_file(path: str | PathLike[str], max_bytes: int) -> bytes:
    """Read a regular file; raises as `open_regular` and `read_all` do."""
    with open_regular(path) as file:
        return read_all(file, max_bytes)


def first_line_of(error: Exception) -> str:
    """Return the first line of what an error says; without one, its class."""
    line, *_ = [*str(error).splitlines(), type(error).__name__]
    return line


def decoded(octets: bytes) -> str:
    """Decode UTF-8 (BadFileError if it is malformed)."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadFileError(f"is not UTF-8 at byte {error.start}") from None
