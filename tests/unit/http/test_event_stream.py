"""A stream of events as a server drives it, without one."""

import asyncio
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from app.http import event_stream
from app.http.event_stream import EVENTS_AT_ONCE, EventStream, first_page
from app.service.events import ALL_EVENTS, EventFilter, EventLog
from hacdbs_sim.model import EventType
from tests.support.settling import settle
from tests.support.wire import HANG_SECONDS

pytestmark = pytest.mark.anyio


class Caller:
    """A client that reads when it wants to, and disconnects on request."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
        self.leaves = asyncio.Event()
        self._has_asked = False

    async def receive(self) -> dict[str, Any]:
        if self._has_asked:
            await self.leaves.wait()
            return {"type": "http.disconnect"}
        self._has_asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        await self.sent.put(message)

    async def body(self) -> bytes:
        async with asyncio.timeout(HANG_SECONDS):
            return bytes((await self.sent.get())["body"])


async def begin(log: EventLog, after: int) -> tuple[Caller, asyncio.Task[None]]:
    caller = Caller()
    stream = EventStream(log.open_reader(after, ALL_EVENTS))
    served = asyncio.create_task(stream({"type": "http"}, caller.receive, caller.send))
    start = await caller.sent.get()
    assert (b"content-type", b"text/event-stream; charset=utf-8") in start["headers"]
    assert await caller.body() == b"retry: 1000\n\nid: %d\n\n" % after
    return caller, served


def emit(log: EventLog, count: int = 1) -> None:
    for _ in range(count):
        log.emit(EventType.VM_CREATED, session_id="default", vm_id="default-1")


async def test_a_silent_stream_says_something_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.01)
    caller, served = await begin(EventLog(), 0)

    assert [await caller.body() for _ in range(2)] == [b":\n\n", b":\n\n"]
    served.cancel()


async def test_the_reader_of_a_client_that_disconnects_is_closed() -> None:
    log = EventLog()
    caller, served = await begin(log, 0)

    caller.leaves.set()

    await asyncio.wait_for(served, HANG_SECONDS)
    assert log.reader_count == 0


async def test_a_stop_ends_the_stream_as_an_answer_ends() -> None:
    log = EventLog()
    caller, served = await begin(log, 0)

    log.begin_stop()

    assert await caller.body() == b""
    await asyncio.wait_for(served, HANG_SECONDS)


async def test_one_who_does_not_read_holds_one_page_and_misses_the_rest() -> None:
    log = EventLog(kept=100)
    caller, served = await begin(log, 0)
    emit(log, EVENTS_AT_ONCE)
    first = await caller.body()
    emit(log)
    await settle()  # the page of this one waits in the queue
    emit(log, 10_000)
    await settle()

    parts = [await caller.body() for _ in range(3)]

    assert first.count(b"\nevent: ") == EVENTS_AT_ONCE
    assert parts[0].startswith(b"id: 65\n")
    missed = next(part for part in parts if b"event: stale" in part)
    assert missed.startswith(b'id: 9965\nevent: stale\ndata: {"oldest_event_id":9966,')
    assert missed.count(b"event: vm_created") == EVENTS_AT_ONCE
    served.cancel()


async def test_events_that_are_not_wanted_do_not_end_the_wait() -> None:
    log = EventLog()
    reader = log.open_reader(0, EventFilter(session_id="other"))
    waiting = asyncio.create_task(first_page(reader, 10, HANG_SECONDS, Caller().receive))
    await settle()
    emit(log)
    await settle()
    assert not waiting.done()

    log.emit(EventType.SESSION_RESET, session_id="other")

    page = await waiting
    assert [event.event_id for event in page.events] == [2]
    assert log.reader_count == 0


async def test_a_wait_ends_when_its_client_disconnects() -> None:
    log = EventLog()
    caller = Caller()
    reader = log.open_reader(0, ALL_EVENTS)
    waiting = asyncio.create_task(first_page(reader, 10, HANG_SECONDS, caller.receive))
    await settle()

    caller.leaves.set()

    with pytest.raises(ClientDisconnect):
        await waiting
    assert log.reader_count == 0


async def begin_without_wanted(log: EventLog) -> tuple[Caller, asyncio.Task[None]]:
    caller = Caller()
    stream = EventStream(log.open_reader(0, EventFilter(session_id="other")))
    served = asyncio.create_task(stream({"type": "http"}, caller.receive, caller.send))
    await caller.sent.get()
    await caller.body()
    return caller, served


async def test_a_stream_is_silent_about_events_that_are_not_wanted() -> None:
    log = EventLog()
    caller, served = await begin_without_wanted(log)
    emit(log, 3)
    await settle()

    log.emit(EventType.SESSION_RESET, session_id="other")

    assert (await caller.body()).startswith(b"id: 4\nevent: session_reset\n")
    served.cancel()


async def test_events_that_are_not_wanted_do_not_put_the_sign_of_life_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "KEEP_ALIVE_SECONDS", 0.05)
    log = EventLog()
    caller, served = await begin_without_wanted(log)

    async def run_others() -> None:
        while True:
            emit(log)
            await asyncio.sleep(0)

    others = asyncio.create_task(run_others())

    assert await caller.body() == b":\n\n"
    others.cancel()
    served.cancel()
