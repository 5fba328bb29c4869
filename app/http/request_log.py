"""The log's lines of requests. They are the most, and each is made by hand: structlog alone takes 2 us.

A line is written at once if none was within a tenth of a second, else together with those that follow:
a write of its own takes longer than all else that is done for it.
"""

import asyncio
import sys
import time
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import quote

from ..logs import now
from ..settings import LogFormat

WAIT_SECONDS: Final = 0.1
MAX_LINES: Final = 256
"""The lines that wait at most: about 64 KiB."""

PATH_CHARACTERS: Final = 200


def logged_path(path: str) -> str:
    """Return the beginning of a path as a URL has it, so that it is printable and cannot end a line."""
    return quote(path[:PATH_CHARACTERS], errors="replace")[:PATH_CHARACTERS]


class RequestLine(NamedTuple):
    """What the line of a request says; text is printable ASCII without spaces, quotes and backslashes."""

    request_id: str
    method: str
    route: str
    status: int
    seconds: float
    more: dict[str, str]
    """Further fields."""


def _as_json(line: RequestLine) -> str:
    rest = "".join(f',"{name}":"{value}"' for name, value in line.more.items())
    return (
        f'{{"timestamp":"{now()}","level":"info","event":"request","request_id":"{line.request_id}",'
        f'"method":"{line.method}","route":"{line.route}","status":{line.status},'
        f'"duration_seconds":{line.seconds:.6f}{rest}}}\n'
    )


def _as_text(line: RequestLine) -> str:
    rest = "".join(f" {name}={value}" for name, value in line.more.items())
    return (
        f"{now()} [info] request request_id={line.request_id} method={line.method}"
        f" route={line.route} status={line.status} duration_seconds={line.seconds:.6f}{rest}\n"
    )


class RequestLog:
    """Writes lines of requests to standard error; used on the event loop only."""

    def __init__(self, log_format: str) -> None:
        self._render = _as_json if log_format == LogFormat.JSON else _as_text
        self._stream = sys.stderr
        self._waiting: list[str] = []
        self._write_at = 0.0

    def add(self, line: RequestLine) -> None:
        """Log one request."""
        self._waiting.append(self._render(line))
        if (count := len(self._waiting)) >= MAX_LINES or time.monotonic() >= self._write_at:
            self.flush()
        elif count == 1:
            asyncio.get_running_loop().call_later(WAIT_SECONDS, self.flush)

    def flush(self) -> None:
        """Write the lines that wait; what cannot be written is lost, and fails no request."""
        if not self._waiting:
            return
        self._write_at = time.monotonic() + WAIT_SECONDS
        text = "".join(self._waiting)
        self._waiting.clear()
        with suppress(OSError, ValueError):  # a full disk, a reader that has gone, a closed file
            self._stream.write(text)
            self._stream.flush()
