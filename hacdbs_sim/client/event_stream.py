"""Watching events: one call after the other, each from where the last one ended. No I/O.

Not the service's stream: a call that waits can be retried, and needs no connection of its own, so both
kinds of client watch alike, in process too.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Concatenate, Final, ParamSpec

from hacdbs_sim.client.answers import Event, Events
from hacdbs_sim.client.binding import AsyncRunner, Runner, as_method
from hacdbs_sim.client.call import Call
from hacdbs_sim.client.operations.events import list_events

P = ParamSpec("P")

WAIT_SECONDS: Final = 20
"""How long one call waits: less than a client waits for an answer."""

EVENTS_AT_ONCE: Final = 1_000
STALE: Final = "stale"


class Watch:
    """A position in the service's events."""

    def __init__(
        self, after: int | None, types: str | None, session_id: str | None, vm_id: str | None
    ) -> None:
        self._after = after
        self._types = types
        self._session_id = session_id
        self._vm_id = vm_id

    def call(self) -> Call[Events]:
        """Describe the next call."""
        return list_events(
            after=self._after,
            type=self._types,
            session_id=self._session_id,
            vm_id=self._vm_id,
            limit=EVENTS_AT_ONCE,
            wait_seconds=WAIT_SECONDS,
        )

    def news(self, page: Events) -> Iterator[Event]:
        """Give the events of an answer, after a `stale` one if others are gone; and move on."""
        self._after = page.next_after
        if page.stale:
            yield Event(
                event_id=page.oldest_event_id - 1,
                type=STALE,
                session_id="",
                vm_id=None,
                now_ns=0,
                details={
                    "oldest_event_id": page.oldest_event_id,
                    "last_event_id": page.last_event_id,
                },
            )
        yield from page.events


def watch_events(
    *,
    after: int | None = None,
    type: str | None = None,  # noqa: A002 - the field's name
    session_id: str | None = None,
    vm_id: str | None = None,
) -> Watch:
    """Give events as they happen, without end: first those that are kept, or those behind `after`.

    Where events were missed, for the service keeps the last 4,096, one of type `stale` comes first.
    """
    return Watch(after, type, session_id, vm_id)


def root_watch(operation: Callable[P, Watch]) -> Callable[Concatenate[Runner, P], Iterator[Event]]:
    """Make a method of the client that goes on watching."""

    def method(self: Runner, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[Event]:
        watch = operation(*args, **kwargs)
        while True:
            yield from watch.news(self.run(watch.call()))

    as_method(method, operation, bound=False)
    return method


def root_watch_async(
    operation: Callable[P, Watch],
) -> Callable[Concatenate[AsyncRunner, P], AsyncIterator[Event]]:
    """Make a method of the client that goes on watching, for coroutines."""

    async def method(
        self: AsyncRunner, /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncIterator[Event]:
        watch = operation(*args, **kwargs)
        while True:
            for event in watch.news(await self.run(watch.call())):
                yield event

    as_method(method, operation, bound=False)
    return method
