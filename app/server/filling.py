"""The rest of a body, from the socket straight to its place.

By uvicorn's way a part of a body is copied four times: to the event loop's buffer, to bytes, to the parser's bytes
and to the request; and reading stops at 64 KiB until the application has woken. Here the parser is
passed by: how much is still to come is known from the head.
"""

import asyncio
from typing import Final, Protocol

from typing_extensions import override

READ_BYTES: Final = 1 << 18
"""At most so much at once, as the event loop reads by itself."""


class Connection(Protocol):
    """What is told of a connection whose parser is passed by."""

    def moved(self, size: int) -> None:
        """Note that something came."""
        ...

    def end_body(self) -> None:
        """Go on as after the last part of a body."""
        ...

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the connection's end."""
        ...

    def pause_writing(self) -> None:
        """Stop to write."""
        ...

    def resume_writing(self) -> None:
        """Go on writing."""
        ...


class BodyReader(asyncio.BufferedProtocol):
    """Reads until a place is full, and no octet more.

    Attributes:
        size: How much has come.
    """

    def __init__(self, connection: Connection, place: memoryview) -> None:
        self._connection = connection
        self._place = place
        self.size = 0

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        """Give the place of what comes next; never empty, since a full one ends the body."""
        return self._place[self.size : self.size + READ_BYTES]

    @override
    def buffer_updated(self, nbytes: int) -> None:
        """Take what has come."""
        self.size += nbytes
        self._connection.moved(nbytes)
        if self.size == len(self._place):
            self._connection.end_body()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._connection.connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        """Pass it on."""
        self._connection.pause_writing()

    @override
    def resume_writing(self) -> None:
        """Pass it on."""
        self._connection.resume_writing()
