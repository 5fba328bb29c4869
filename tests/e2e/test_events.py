"""Events over a real connection: streams that are resumed, filtered, too slow, too many, and ended."""

import asyncio
import json
import signal
import socket
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from app.service.events import MAX_EVENT_READERS
from hacdbs_sim.client import AsyncClient, Client, Session, Vm
from hacdbs_sim.model import Event, StaleReader
from tests.e2e.test_serve import get, serving
from tests.support.wire import HANG_SECONDS

STREAM = {"Accept": "text/event-stream"}


class Sent(NamedTuple):
    """An event of the stream."""

    event_id: int
    type: str
    data: dict[str, Any]


def events_in(lines: Iterator[str]) -> Iterator[Sent]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields:
            yield Sent(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}


@contextmanager
def reading(
    http: httpx.Client, last_event_id: int | None = None, query: dict[str, str] | None = None
) -> Generator[Iterator[Sent]]:
    headers = STREAM if last_event_id is None else {**STREAM, "Last-Event-ID": str(last_event_id)}
    with http.stream("GET", "/v1/events", headers=headers, params=query) as answer:
        answer.raise_for_status()
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"  # from here on nothing is missed
        yield events_in(lines)


def toggle(client: Client, vm: Vm, count: int) -> None:
    """Have `count` events, an even number of at most 10,000."""
    changes = [{"op": "set_cpu", "cpu": 0, "online": online} for online in (False, True)]
    # Without a key: the answers that are kept for retries would be all that grows
    answer = client.http.post(f"/v1/vms/{vm.vm_id}/batch", json={"actions": changes * (count // 2)})
    assert answer.is_success


def an_event(item: Event | StaleReader) -> Event:
    assert isinstance(item, Event), item
    return item


def wait_for_readers(client: Client, count: int) -> None:
    """Wait until this many clients read or wait for events."""
    wait_for_line(client, f"hacdbs_event_readers {count}.0")


def wait_for_line(client: Client, line: str) -> None:
    """Wait until the metrics have a line."""
    client.wait_until(lambda: line in client.get_metrics(), HANG_SECONDS, what=line)


def test_a_stream_sends_events_while_it_is_open(http: httpx.Client, session: Session) -> None:
    with reading(http, query={"session_id": session.session_id}) as events:
        vm = session.create_vm(name="src", memslots=[])
        vm.set_cpu(1, online=False)
        vm.delete()

        received = [next(events) for _ in range(3)]

    assert [event.type for event in received] == ["vm_created", "cpu_changed", "vm_deleted"]
    assert all(event.data["event_id"] == event.event_id for event in received)
    assert received[1].data["vm_id"] == vm.vm_id
    assert received[1].data["details"] == {"cpu": 1, "online": False}


def test_a_stream_that_broke_is_resumed_without_a_gap(client: Client, session: Session) -> None:
    http, query = client.http, {"session_id": session.session_id}
    with reading(http, query=query) as events:
        vm = session.create_vm()
        seen = [next(events).event_id]
    toggle(client, vm, 10)

    with reading(http, last_event_id=seen[-1], query=query) as events:
        toggle(client, vm, 2)
        seen += [next(events).event_id for _ in range(12)]

    assert seen == sorted(set(seen))
    listed = http.get("/v1/events", params={**query, "after": seen[0] - 1}).json()["events"]
    assert [event["event_id"] for event in listed] == seen


def test_a_stream_from_a_position_that_is_gone_begins_by_saying_so(
    http: httpx.Client, session: Session
) -> None:
    session.create_vm()
    beyond = http.get("/v1/events").json()["last_event_id"] + 1_000

    with reading(http, last_event_id=beyond) as events:
        first = next(events)

    assert first.type == "stale"
    assert first.event_id == first.data["oldest_event_id"] - 1
    assert first.data["last_event_id"] >= first.data["oldest_event_id"]


def test_a_stream_sends_only_requested_events(http: httpx.Client, session: Session) -> None:
    one, other = session.create_vm(), session.create_vm()
    query = {"vm_id": other.vm_id, "type": "cpu_changed,vm_deleted"}
    with reading(http, query=query) as events:
        one.set_cpu(1, online=False)
        other.set_cpu(2, online=False)
        one.delete()
        other.delete()

        received = [next(events) for _ in range(2)]

    assert [(event.type, event.data["vm_id"]) for event in received] == [
        ("cpu_changed", other.vm_id),
        ("vm_deleted", other.vm_id),
    ]


@pytest.mark.parametrize(
    ("request_of", "at"),
    [
        ({"params": {"type": "fault_hit,other"}}, "query:type"),
        ({"params": {"wait_seconds": 61}}, "query:wait_seconds"),
        ({"params": {"after": "-1"}}, "query:after"),
        ({"headers": {"Last-Event-ID": "one"}}, "header:Last-Event-ID"),
    ],
)
def test_an_invalid_position_is_reported_with_its_place(
    http: httpx.Client, request_of: dict[str, Any], at: str
) -> None:
    answer = http.get("/v1/events", **request_of)

    error = answer.json()["errors"][0]
    assert answer.status_code == 422
    assert f"{error['in']}:{error['pointer'].strip('/')}" == at


def test_a_list_waits_for_the_first_event(client: Client, session: Session) -> None:
    after = client.list_events().last_event_id
    wait_for_readers(client, 0)  # those of the tests before may still be leaving
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(
            client.list_events, after=after, session_id=session.session_id, wait_seconds=60
        )
        wait_for_readers(client, 1)

        session.create_vm()
        page = waiting.result(HANG_SECONDS)

    assert [event.type for event in page.events] == ["vm_created"]


def test_a_list_that_waits_in_vain_is_empty(client: Client, session: Session) -> None:
    page = client.list_events(session_id=session.session_id, wait_seconds=1)

    assert page.events == ()
    assert page.next_after == page.last_event_id


def test_waits_of_clients_that_have_disconnected_end(tmp_path: Path) -> None:
    call = b"GET /v1/events?wait_seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving(tmp_path) as service, Client(service.url) as client:
        address = (client.http.base_url.host, client.http.base_url.port)
        with ExitStack() as callers:
            for _ in range(MAX_EVENT_READERS):
                caller = callers.enter_context(socket.create_connection(address))
                caller.sendall(call)
            wait_for_readers(client, MAX_EVENT_READERS)

        wait_for_line(
            client,
            'http_requests_total{method="GET",route="/v1/events",status="499"}'
            f" {MAX_EVENT_READERS}.0",
        )
        wait_for_readers(client, 0)


def test_as_many_as_the_service_takes_may_read_and_who_leaves_makes_room(tmp_path: Path) -> None:
    with serving(tmp_path) as service, ExitStack() as stack:
        client = stack.enter_context(Client(service.url))
        stack.enter_context(
            limits := httpx.Client(
                base_url=service.url,
                limits=httpx.Limits(max_connections=None),
                trust_env=False,
                timeout=HANG_SECONDS,
            )
        )
        with ExitStack() as readers:
            for _ in range(MAX_EVENT_READERS):
                readers.enter_context(reading(limits))
            refused = limits.get("/v1/events", headers=STREAM)
            waiting = limits.get("/v1/events", params={"wait_seconds": 1, "after": 0})
            list_of_now = limits.get("/v1/events")

        wait_for_readers(client, 0)
        with reading(limits) as events:
            client.create_vm()
            received = next(events)

    assert (refused.status_code, refused.json()["code"]) == (409, "event_reader_limit")
    assert (waiting.status_code, list_of_now.status_code) == (409, 200)
    assert received.type == "vm_created"


@pytest.mark.slow
def test_one_who_does_not_read_costs_no_memory_and_receives_stale(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as service,
        Client(service.url, timeout=HANG_SECONDS) as client,
        socket.socket() as slow,
    ):
        vm = client.create_vm()
        slow.settimeout(HANG_SECONDS)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.connect(("127.0.0.1", service.port))
        slow.sendall(
            b"GET /v1/events?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Accept: text/event-stream\r\n\r\n"
        )
        for _ in range(4):
            toggle(client, vm, 10_000)
        before = resident_bytes(service.process.pid)
        for _ in range(4):
            toggle(client, vm, 10_000)
        grown = resident_bytes(service.process.pid) - before

        read = b""
        while b"event: stale" not in read and (part := slow.recv(1 << 20)):
            read = read[-100:] + part

    assert b"event: stale" in read
    assert grown < 4 << 20, "40,000 events of some 190 bytes are 7.6 MB"


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4_096


def test_a_stop_ends_streams_and_calls_that_wait(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as service,
        httpx.Client(base_url=service.url, trust_env=False, timeout=HANG_SECONDS) as http,
    ):
        waited: list[httpx.Response] = []
        waiting = threading.Thread(
            target=lambda: waited.append(get(service, "/v1/events?wait_seconds=60&after=0"))
        )
        with reading(http) as events:
            waiting.start()
            with Client(service.url) as client:
                wait_for_readers(client, 2)

            service.process.send_signal(signal.SIGTERM)
            rest = list(events)
            waiting.join(HANG_SECONDS)
            status = service.process.wait(HANG_SECONDS)

    assert (status, rest) == (0, [])
    assert waited[0].json()["events"] == []


def test_a_client_in_process_watches() -> None:
    with Client.in_process() as client:
        watched = client.watch_events(type="vm_created,vm_deleted")
        vm = client.create_vm(name="src")
        first = an_event(next(watched))
        vm.delete()
        second = an_event(next(watched))

    assert [(event.type, event.vm_id) for event in (first, second)] == [
        ("vm_created", "default-1"),
        ("vm_deleted", "default-1"),
    ]
    assert first.details == {"name": "src"}


def test_a_stream_in_process_is_refused_for_it_would_never_come() -> None:
    with Client.in_process() as client, pytest.raises(httpx.UnsupportedProtocol, match="watch_ev"):
        client.http.get("/v1/events", headers=STREAM)


async def the_next(watched: AsyncIterator[Event | StaleReader]) -> Event:
    return an_event(await anext(watched))


def test_coroutines_watch_while_others_work(service_url: str, session: Session) -> None:
    async def story() -> list[Event]:
        async with AsyncClient(service_url) as client:
            watched = client.watch_events(session_id=session.session_id)
            upcoming = asyncio.create_task(the_next(watched))
            await client.session(session.session_id).create_vm()
            received = [await upcoming]
            await client.session(session.session_id).reset()
            return [*received, await the_next(watched)]

    assert [event.type for event in asyncio.run(story())] == ["vm_created", "session_reset"]


def test_one_who_watches_receives_a_stale_reader_for_missed_events() -> None:
    with Client.in_process() as client:
        vm = client.create_vm()
        toggle(client, vm, 5_000)

        first = next(client.watch_events(after=1))

    assert isinstance(first, StaleReader)
    assert first.oldest_event_id == first.last_event_id - 4_096 + 1 == 5_001 - 4_096 + 1
