"""The event log: the last few thousand events, numbered, and their readers.

A reader is only a position in the log. A slow one therefore holds no memory; events that it missed are
dropped, and its page is marked `stale`. Machines emit from threads; readers wait on the event loop.

Readers take turns: each step of the loop wakes a few of them, and each has one page. So neither many
readers nor one with much to read keep others waiting.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Final

from hacdbs_sim.model.events import Detail, Event, EventPage, EventType

from .errors import EventReaderLimitError

KEPT_EVENTS: Final = 4_096
MAX_EVENT_READERS: Final = 64
MIN_READER_SECONDS: Final = 60.0
"""A reader is not ended for a new one before."""
READERS_AT_ONCE: Final = 4
"""How many readers each step of the event loop wakes."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """A selection of events; None selects all."""

    types: frozenset[EventType] | None = None
    session_id: str | None = None
    vm_id: str | None = None

    def takes(self, event: Event) -> bool:
        """Return whether the filter selects an event."""
        return (
            (self.types is None or event.type in self.types)
            and (self.session_id is None or event.session_id == self.session_id)
            and (self.vm_id is None or event.vm_id == self.vm_id)
        )


ALL_EVENTS: Final = EventFilter()


class EventLog:
    """The last events of a fleet, and the readers that wait for the next."""

    def __init__(self, kept: int = KEPT_EVENTS) -> None:
        self._kept: list[Event | None] = [None] * kept
        self._texts: dict[int, bytes] = {}
        """The events of the ring that were written, by place."""
        self.last_event_id = 0
        """0 before the first event."""
        self._lock = Lock()
        self._readers: dict[EventReader, None] = {}  # in the order of their opening
        self._has_news = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns: deque[EventReader] = deque()
        self._is_stopping = False
        self.counts: Counter[str] = Counter(dict.fromkeys(EventType, 0))

    @property
    def oldest_event_id(self) -> int:
        """The id of the oldest kept event; that of the next one if none is kept."""
        return max(self.last_event_id - len(self._kept), 0) + 1

    @property
    def reader_count(self) -> int:
        """The number of readers that wait or are being written to."""
        return len(self._readers)

    def emit(
        self,
        type: EventType,  # noqa: A002 - the field's name
        *,
        session_id: str,
        vm_id: str | None = None,
        now_ns: int = 0,
        details: Mapping[str, Detail] | None = None,
    ) -> None:
        """Append an event; callable from any thread, never waits for a reader."""
        with self._lock:
            self.last_event_id += 1
            place = self.last_event_id % len(self._kept)
            self._texts.pop(place, None)
            self._kept[place] = Event(
                event_id=self.last_event_id,
                type=type,
                session_id=session_id,
                vm_id=vm_id,
                now_ns=now_ns,
                details=details or {},
            )
            self.counts[type] += 1
            is_first = bool(self._readers) and not self._has_news
            self._has_news = self._has_news or is_first
        if is_first and self._loop is not None:
            # One call of the loop for all events before it runs
            self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        with self._lock:
            self._has_news = False
            readers = tuple(self._readers)
        for reader in readers:
            self.wake(reader)

    def wake(self, reader: "EventReader") -> None:
        """Give a reader its turn to read, behind those that have one; call on the event loop."""
        if reader.has_turn:
            return
        reader.has_turn = True
        self._turns.append(reader)
        if len(self._turns) == 1:
            asyncio.get_running_loop().call_soon(self._take_turns)

    def _take_turns(self) -> None:
        for _ in range(min(READERS_AT_ONCE, len(self._turns))):
            self._turns.popleft().begin_turn()
        if self._turns:
            asyncio.get_running_loop().call_soon(self._take_turns)

    def text_of(self, event: Event, write: Callable[[Event], bytes]) -> bytes:
        """Return an event as `write` writes it, once for all readers."""
        place = event.event_id % len(self._kept)
        text = self._texts.get(place)
        if text is None or self._kept[place] is not event:
            text = write(event)
            with self._lock:
                if self._kept[place] is event:
                    self._texts[place] = text
        return text

    def after(self, event_id: int, wanted: EventFilter, limit: int) -> EventPage:
        """Return the first wanted events after an id, at most `limit`."""
        with self._lock:
            last, oldest, size = self.last_event_id, self.oldest_event_id, len(self._kept)
            stale = not oldest - 1 <= event_id <= last
            position = oldest - 1 if stale else event_id
            found: list[Event] = []
            while position < last and len(found) < limit:
                position += 1
                event = self._kept[position % size]
                assert event is not None, "all ids from the oldest to the last are kept"
                if wanted.takes(event):
                    found.append(event)
        return EventPage(
            events=tuple(found),
            next_after=position,
            oldest_event_id=oldest,
            last_event_id=last,
            stale=stale,
        )

    def open_reader(self, after: int, wanted: EventFilter) -> "EventReader":
        """Open a reader after an event, if not too many are; call on the event loop.

        It takes the place of the one that has been open longest, if that has been so for long enough: a
        client that reads resumes, and one that is silent does not keep others out.
        """
        if len(self._readers) >= MAX_EVENT_READERS:
            self._end_oldest()
        if len(self._readers) >= MAX_EVENT_READERS:
            detail = f"{MAX_EVENT_READERS} readers wait for events, as many as the service takes"
            raise EventReaderLimitError(detail, bound=MAX_EVENT_READERS)
        self._loop = asyncio.get_running_loop()
        reader = EventReader(self, after, wanted)
        with self._lock:
            self._readers[reader] = None
        if self._is_stopping:
            reader.close()
        elif after != self.last_event_id:
            self.wake(reader)
        return reader

    def _end_oldest(self) -> None:
        oldest = next(iter(self._readers))
        if time.monotonic() - oldest.opened_at >= MIN_READER_SECONDS:
            oldest.close()

    def forget(self, reader: "EventReader") -> None:
        """Remove a closed reader."""
        with self._lock:
            self._readers.pop(reader, None)

    def begin(self) -> None:
        """Allow readers to wait; called when the service starts."""
        self._is_stopping = False
        self._has_news = False  # a loop that has ended may have left it
        self._turns.clear()

    def begin_stop(self) -> None:
        """Close all readers, including those opened later."""
        self._is_stopping = True
        for reader in tuple(self._readers):
            reader.close()


class EventReader:
    """A position in a log, the id of the event after which it reads, with a wait for events."""

    def __init__(self, log: EventLog, position: int, wanted: EventFilter) -> None:
        self.opened_at = time.monotonic()
        self.position = position
        self.is_closed = False
        self.has_turn = False
        """Whether it waits for its turn."""
        self._log = log
        self._wanted = wanted
        self._news = asyncio.Event()

    def take(self, limit: int) -> EventPage:
        """Return the events since the position, at most `limit`, and advance past them."""
        self._news.clear()
        page = self._log.after(self.position, self._wanted, limit)
        self.position = page.next_after
        if page.next_after < page.last_event_id:
            self._log.wake(self)
        return page

    def text_of(self, event: Event, write: Callable[[Event], bytes]) -> bytes:
        """Return an event as `write` writes it, once for all readers."""
        return self._log.text_of(event, write)

    async def wait(self, seconds: float) -> bool:
        """Wait until events may be available or the reader is closed; return False on timeout."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def begin_turn(self) -> None:
        """Signal that events may be available."""
        self.has_turn = False
        self._news.set()

    def close(self) -> None:
        """Close the reader; call on the event loop."""
        self.is_closed = True
        self._log.forget(self)
        self._news.set()
