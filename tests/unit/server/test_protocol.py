"""Large bodies and pipelined requests, on a real server."""

import socket
import time
from collections.abc import Generator

import numpy as np
import pytest

from hacdbs_sim.client import Service, Vm, serve_in_thread
from hacdbs_sim.model import MemslotFlags, SetMemslot

PAGES = 1 << 23
CLEAR = "/memslots/0/dirty-log/clear"


@pytest.fixture(scope="module")
def service() -> Generator[Service]:
    with serve_in_thread(log_level="error") as running:
        yield running


@pytest.fixture
def vm(service: Service) -> Generator[Vm]:
    with service.client() as client:
        memslot = SetMemslot(
            slot=0,
            guest_phys_addr=0,
            memory_size=PAGES * 4096,
            flags=MemslotFlags.LOG_DIRTY_PAGES,
        )
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
    """Read a number of responses; their bodies hold no status line."""
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
    left = vm.slot(0).peek_dirty_log().words
    assert (left == ~np.frombuffer(bitmap, "<u8")).all()


def test_large_bodies_may_come_one_behind_the_other(vm: Vm, wire: socket.socket) -> None:
    first, second = clear_request(vm, every_third(PAGES)), clear_request(vm, bytes(PAGES // 8))

    wire.sendall(first + second + first)

    assert statuses(wire, 3) == [b"200"] * 3
    assert vm.slot(0).peek_dirty_log().dirty_count == PAGES - -(-PAGES // 3)


def test_a_client_may_read_earlier_answers_while_it_sends_a_large_body(
    service: Service, vm: Vm
) -> None:
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


def test_a_large_body_with_expect_gets_100_continue(vm: Vm, wire: socket.socket) -> None:
    request = clear_request(vm, every_third(PAGES))
    head, _, bitmap = request.partition(b"\r\n\r\n")

    wire.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
    asked = wire.recv(1 << 10)
    wire.sendall(bitmap)

    assert asked == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert statuses(wire, 1) == [b"200"]


def test_a_client_that_disconnects_in_a_large_body_clears_nothing(
    vm: Vm, wire: socket.socket
) -> None:
    request = clear_request(vm, every_third(PAGES))

    wire.sendall(request[: len(request) // 2])
    wire.close()

    assert vm.slot(0).peek_dirty_log().dirty_count == PAGES
