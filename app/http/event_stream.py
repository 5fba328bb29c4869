"""Events as text/event-stream (WHATWG HTML, 9.2 Server-sent events)."""

import asyncio
import re
from collections.abc import AsyncGenerator
from typing import Annotated, Final

from fastapi import Depends
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from hacdbs_sim.model import Event, EventPage, StaleReader
from hacdbs_sim.wire import InvalidRequestError, error_at, write

from ..service.events import EventReader
from .long_poll import WAITS
from .responses import EVENTS_MEDIA_TYPE

KEEP_ALIVE_SECONDS: Final = 15.0
"""A silent stream sends a comment this often, or proxies may close it."""

EVENTS_AT_ONCE: Final = 64
"""About 20 KB: what a client that does not read holds in the server, beside the socket buffers."""

RETRY_MILLISECONDS: Final = 1_000

LAST_EVENT_ID: Final = "Last-Event-ID"
EVENT_ID_PATTERN: Final = r"^[0-9]{1,15}$"

_EVENT_ID: Final = re.compile(EVENT_ID_PATTERN.removesuffix("$") + r"\Z")

_HEAD: Final = b"retry: %d\n\n" % RETRY_MILLISECONDS
_KEEP_ALIVE: Final = b":\n\n"


def _written(event: Event) -> bytes:
    data = write(event)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.event_id, event.type.encode(), data)


def _stale(page: EventPage) -> bytes:
    stale = StaleReader(oldest_event_id=page.oldest_event_id, last_event_id=page.last_event_id)
    return b"id: %d\nevent: stale\ndata: %s\n\n" % (page.oldest_event_id - 1, write(stale))


def written(page: EventPage, reader: EventReader) -> bytes:
    """Write a page; one that is stale begins with the event `stale`."""
    texts = [reader.text_of(event, _written) for event in page.events]
    return (_stale(page) if page.stale else b"") + b"".join(texts)


async def first_page(
    reader: EventReader, limit: int, seconds: float, receive: Receive
) -> EventPage:
    """Wait up to `seconds` for events, then close the reader.

    Raises:
        ClientDisconnect: The client disconnected: it would keep a reader from those that wait.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + seconds
    disconnect = loop.create_task(_close_on_disconnect(reader, receive))
    try:
        while True:
            has_news = await reader.wait(give_up_at - loop.time())
            if disconnect.done():
                raise ClientDisconnect
            page = reader.take(limit)
            if page.events or page.stale or reader.is_closed or not has_news:
                return page
    finally:
        disconnect.cancel()
        reader.close()


async def _close_on_disconnect(reader: EventReader, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # a body, which the call does not use
    reader.close()


class EventStream(StreamingResponse):
    """A response that continues until the client disconnects or the service stops.

    It holds one page: it reads the next one when the server has sent the last.
    """

    def __init__(self, reader: EventReader) -> None:
        headers = {"Cache-Control": "no-store"}
        super().__init__(_texts(reader), media_type=EVENTS_MEDIA_TYPE, headers=headers)
        self._reader = reader

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[WAITS] = True
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._reader.close()


async def _texts(reader: EventReader) -> AsyncGenerator[bytes]:
    # An id first, so that a client that is ended before it gets an event resumes without a gap
    text = _HEAD + b"id: %d\n\n" % reader.position
    while not reader.is_closed:
        yield text
        text = await _next(reader)


async def _next(reader: EventReader) -> bytes:
    """Wait for text to send; events that are not wanted do not delay the keep-alive."""
    loop = asyncio.get_running_loop()
    speak_at = loop.time() + KEEP_ALIVE_SECONDS
    while await reader.wait(speak_at - loop.time()):
        text = written(reader.take(EVENTS_AT_ONCE), reader)
        if text or reader.is_closed:
            return text
        if loop.time() >= speak_at:
            break
    return _KEEP_ALIVE


def read_last_event_id(request: Request) -> int | None:
    """Return the id of the last event that a reader of the stream has received."""
    given = request.headers.getlist(LAST_EVENT_ID)
    if not given:
        return None
    if len(given) > 1 or _EVENT_ID.match(given[0]) is None:
        detail = "must be the id of one event, in decimal digits"
        error = error_at("header", LAST_EVENT_ID, detail, bound=EVENT_ID_PATTERN, value=given[0])
        raise InvalidRequestError((error,))
    return int(given[0])


LastEventId = Annotated[int | None, Depends(read_last_event_id)]
