"""Messages between the two sides of a migration: one JSON object a line.

The pages themselves do not travel: the service migrates its own VM, and makes the VM of the destination.
The channel carries what the destination's QMP has to show, and when; a break of it is a break of the link.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final, TypeAlias

import orjson

Message: TypeAlias = dict[str, Any]

GREETING: Final = "hacdbs-sim-migration"
"""The key of a source's first message; its value is the version of this protocol."""

VERSION: Final = 1
MAX_LINE: Final = 1 << 20
"""The greeting of a VM with 32,767 memslots has about 700 KiB."""


class Channel:
    """One end of a connection between source and destination."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> Message | None:
        """Return the next message; None: the connection has ended, or what came is no message."""
        try:
            line = await self._reader.readuntil(b"\n")
            found = orjson.loads(line)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    async def send(self, message: Message) -> None:
        """Send a message; one to a side that has gone is lost."""
        self._writer.write(orjson.dumps(message) + b"\n")
        with suppress(OSError):  # the other side has gone
            await self._writer.drain()

    def close(self) -> None:
        """Close the connection: what has been sent still arrives."""
        self._writer.close()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        with suppress(OSError):  # the other side has gone
            await self._writer.wait_closed()
