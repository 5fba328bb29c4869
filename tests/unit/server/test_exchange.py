"""What the server offers beyond ASGI: answers in one write, bodies at once or straight to their place."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any

import numpy as np
import pytest
from typing_extensions import override
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.server.exchange import Exchange
from app.server.filling import BodyReader
from hacdbs_sim.client import MemslotSpec, Service, Vm, serve_in_thread

BODY = b'{"ok":true}'
HEADERS = [(b"content-length", b"11"), (b"content-type", b"application/json")]


class RecordingTransport(asyncio.Transport):
    """Keeps what is written, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    @override
    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    @override
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.writes.append(b"".join(list_of_data))

    @override
    def close(self) -> None:
        self.writes.append(b"(closed)")

    @override
    def pause_reading(self) -> None: ...

    @override
    def resume_reading(self) -> None: ...


class Connection:
    """What an exchange knows of a connection."""

    at_stop: Callable[[], None] | None = None

    def fill(self, place: memoryview) -> BodyReader:
        raise AssertionError(place)


def exchange_of(cycle: RequestResponseCycle) -> Exchange:
    return Exchange(Connection(), cycle)


class Told:
    """Counts how often a cycle says that its answer is complete."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def cycle_of(
    transport: RecordingTransport, method: str = "GET", **changes: Any
) -> RequestResponseCycle:
    cycle = RequestResponseCycle(
        scope={"type": "http", "method": method},  # type: ignore[typeddict-item]
        transport=transport,
        flow=FlowControl(transport),
        logger=logging.getLogger("test"),
        access_logger=logging.getLogger("test"),
        access_log=False,
        default_headers=[(b"date", b"today")],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=Told(),
    )
    for name, value in changes.items():
        setattr(cycle, name, value)
    return cycle


async def by_uvicorn(
    cycle: RequestResponseCycle, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    await cycle.send({"type": "http.response.start", "status": status, "headers": headers})
    await cycle.send({"type": "http.response.body", "body": body, "more_body": False})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, HEADERS, BODY),
        (404, HEADERS, BODY),
        (204, [(b"etag", b'"1"')], b""),
        (200, [(b"content-length", b"100000")], bytes(100_000)),
    ],
)
async def test_an_answer_is_what_uvicorn_makes_of_it_in_one_write(
    status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    ours, theirs = RecordingTransport(), RecordingTransport()
    cycle, other = cycle_of(ours), cycle_of(theirs)
    exchange = exchange_of(cycle)
    exchange.more_headers = [(b"x-request-id", b"1")]

    assert exchange.answer(status, headers, body)
    await by_uvicorn(other, status, [*headers, *exchange.more_headers], body)

    assert ours.writes == [b"".join(theirs.writes)]
    state = ("response_started", "response_complete", "waiting_for_100_continue")
    assert [getattr(cycle, name) for name in state] == [getattr(other, name) for name in state]
    assert exchange.status == status
    assert cycle.message_event.is_set()
    assert isinstance(cycle.on_response, Told)
    assert cycle.on_response.times == 1


@pytest.mark.anyio
async def test_an_answer_may_be_a_view() -> None:
    transport = RecordingTransport()
    words = np.arange(4, dtype="<u8")

    assert exchange_of(cycle_of(transport)).answer(
        200, [(b"content-length", b"32")], words.view("u1").data
    )

    assert transport.writes[0].endswith(words.tobytes())


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"method": "HEAD"}, HEADERS),
        ({"keep_alive": False}, HEADERS),
        ({"disconnected": True}, HEADERS),
        ({"response_started": True}, HEADERS),
        ({}, [(b"content-length", b"12")]),
        ({}, [(b"content-type", b"application/json")]),
        ({}, [*HEADERS, (b"location", b"/v1\r\nset-cookie: a=b")]),
        ({}, [*HEADERS, (b"location\n", b"/v1")]),
        ({}, [*HEADERS, (b"location", b"/v1\r")]),
        ({}, [*HEADERS, (b"location", b"/v1\0")]),
        ({}, [*HEADERS, (b"connection", b"close")]),
        ({}, [*HEADERS, (b"transfer-encoding", b"chunked")]),
    ],
    ids=[
        "head",
        "closing",
        "gone",
        "begun",
        "wrong",
        "unknown",
        "forged",
        "forged name",
        "carriage return",
        "nul",
        "closes",
        "chunked",
    ],
)
async def test_what_is_not_plain_is_left_to_uvicorn(
    changes: dict[str, Any], headers: list[tuple[bytes, bytes]]
) -> None:
    transport = RecordingTransport()
    cycle = cycle_of(transport, **changes)

    assert not exchange_of(cycle).answer(200, headers, BODY)

    assert transport.writes == []
    assert not cycle.response_complete


@pytest.mark.anyio
async def test_an_answer_waits_for_a_client_that_does_not_read() -> None:
    transport = RecordingTransport()
    cycle = cycle_of(transport)
    cycle.flow.pause_writing()

    assert not exchange_of(cycle).answer(200, HEADERS, BODY)

    assert transport.writes == []


@pytest.mark.anyio
async def test_a_body_that_has_come_is_given_once() -> None:
    exchange = exchange_of(cycle_of(RecordingTransport(), body=bytearray(b"{}"), more_body=False))

    assert exchange.take_body() == b"{}"
    assert exchange.take_body() is None


@pytest.mark.anyio
@pytest.mark.parametrize("changes", [{"more_body": True}, {"disconnected": True}])
async def test_a_body_that_has_not_come_is_to_be_waited_for(changes: dict[str, bool]) -> None:
    state: dict[str, Any] = {"body": bytearray(b"{"), "more_body": False, **changes}

    assert exchange_of(cycle_of(RecordingTransport(), **state)).take_body() is None


# Large bodies, on a real server

PAGES = 1 << 23
CLEAR = "/memslots/0/dirty-log/clear"


@pytest.fixture(scope="module")
def service() -> Generator[Service]:
    with serve_in_thread(log_level="error") as running:
        yield running


@pytest.fixture
def vm(service: Service) -> Generator[Vm]:
    with service.client() as client:
        memslot: MemslotSpec = {
            "slot": 0,
            "guest_phys_addr": 0,
            "memory_size": PAGES * 4096,
            "flags": ["LOG_DIRTY_PAGES"],
        }
        made = client.create_vm(manual_dirty_log_protect2=1, memslots=[memslot])
        made.guest_write(range(PAGES))
        yield made
        made.delete()


@pytest.fixture
def wire(service: Service) -> Generator[socket.socket]:
    port = int(service.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as opened:
        yield opened


def clear_request(vm: Vm, bitmap: bytes) -> bytes:
    head = (
        f"POST /v1/vms/{vm.vm_id}{CLEAR} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {len(bitmap)}\r\n\r\n"
    )
    return head.encode() + bitmap


def statuses(wire: socket.socket, count: int) -> list[bytes]:
    """Read answers until so many have begun; their bodies have no status line in them."""
    read = b""
    while read.count(b"HTTP/1.1 ") < count or not read.endswith(b"}"):
        part = wire.recv(1 << 16)
        assert part, read
        read += part
    return [piece[:3] for piece in read.split(b"HTTP/1.1 ")[1:]]


def every_third(pages: int) -> bytes:
    bits = np.zeros(pages, np.uint8)
    bits[::3] = 1
    return np.packbits(bits, bitorder="little").tobytes()


@pytest.mark.parametrize("piece", [70_000, 1 << 19, 1 << 23])
def test_a_large_bitmap_arrives_as_it_was_sent(vm: Vm, wire: socket.socket, piece: int) -> None:
    bitmap = every_third(PAGES)
    request = clear_request(vm, bitmap)

    for at in range(0, len(request), piece):
        wire.sendall(request[at : at + piece])

    assert statuses(wire, 1) == [b"200"]
    left = vm.slot(0).peek_dirty_log().bitmap
    assert (left == ~np.frombuffer(bitmap, "<u8")).all()


def test_large_bodies_may_come_one_behind_the_other(vm: Vm, wire: socket.socket) -> None:
    first, second = clear_request(vm, every_third(PAGES)), clear_request(vm, bytes(PAGES // 8))

    wire.sendall(first + second + first)

    assert statuses(wire, 3) == [b"200"] * 3
    assert vm.slot(0).peek_dirty_log().dirty_count == PAGES - -(-PAGES // 3)


def test_a_client_may_take_the_last_answer_while_it_sends_a_large_body(
    service: Service, vm: Vm
) -> None:
    """The server had stopped to write before the body came; that it may go on must reach it."""
    port = int(service.url.rpartition(":")[2])
    peek = (
        f"GET /v1/vms/{vm.vm_id}/memslots/0/dirty-log HTTP/1.1\r\nHost: localhost\r\n"
        "Accept: application/octet-stream\r\n\r\n"
    )
    request = clear_request(vm, every_third(PAGES))
    half = len(request) // 2
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        slow.settimeout(20)
        slow.connect(("127.0.0.1", port))

        slow.sendall(peek.encode() * 4 + request[:half])
        time.sleep(0.3)  # the answers to the peeks do not fit
        read = 0
        while read < 4 * PAGES // 8:
            read += len(slow.recv(1 << 16))
        slow.sendall(request[half:])

        while b'"software"' not in slow.recv(1 << 16):
            pass
    assert vm.slot(0).peek_dirty_log().dirty_count == PAGES - -(-PAGES // 3)


def test_a_large_body_that_is_waited_for_is_asked_for(vm: Vm, wire: socket.socket) -> None:
    request = clear_request(vm, every_third(PAGES))
    head, _, bitmap = request.partition(b"\r\n\r\n")

    wire.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
    asked = wire.recv(1 << 10)
    wire.sendall(bitmap)

    assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert statuses(wire, 1) == [b"200"]


def test_who_leaves_in_a_large_body_has_cleared_nothing(vm: Vm, wire: socket.socket) -> None:
    request = clear_request(vm, every_third(PAGES))

    wire.sendall(request[: len(request) // 2])
    wire.close()

    assert vm.slot(0).peek_dirty_log().dirty_count == PAGES
