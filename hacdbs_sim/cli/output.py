"""Standard output and error: one that cannot be written ends the command, and not in a traceback."""

import errno
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

from typing_extensions import Buffer, override


class OutputError(Exception):
    """A stream cannot be written: it is full, or nobody reads it.

    It is not an OSError: the libraries below take some of those for their own, and end with status 1.
    """

    def __init__(self, cause: OSError, descriptor: int) -> None:
        self.is_closed_pipe = cause.errno == errno.EPIPE
        self.descriptor = descriptor
        super().__init__(f"cannot write the output: {cause.strerror}")

    def discard(self) -> None:
        """Let the interpreter flush what it still has of the stream without another error."""
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - not a file of ours
            os.dup2(nothing.fileno(), self.descriptor)


class _Output(io.FileIO):
    @override
    def write(self, data: Buffer) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OutputError(error, self.fileno()) from None


@contextmanager
def checked_output() -> Generator[None]:
    """Let what is written to the standard streams in the block raise `OutputError`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_checked, before)
    try:
        yield
    finally:
        try:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
        finally:
            sys.stdout, sys.stderr = before


def _checked(stream: TextIO) -> TextIO:
    try:
        raw = _Output(stream.fileno(), "w", closefd=False)
    except (AttributeError, OSError):  # closed, or replaced by a test
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=bool(stream.line_buffering),
    )
