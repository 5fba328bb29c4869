"""A client dies between a destructive get and its response, reconnects, retries, and loses no page."""

import socket
import struct
import threading
from random import Random

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from hacdbs_sim.client import Session
from tests.support.wire import HANG_SECONDS

ROUNDS = 64
NPAGES = 4096
GFN = 0x40000
MEMSLOT = {
    "slot": 0,
    "guest_phys_addr": GFN * 4096,
    "memory_size": NPAGES * 4096,
    "flags": ["LOG_DIRTY_PAGES"],
}


def make_vm(http: httpx.Client, session: Session) -> str:
    made = http.post("/v1/vms", json={"session_id": session.session_id, "memslots": [MEMSLOT]})
    assert made.status_code == 201, made.text
    location: str = made.headers["location"]
    return location


def write(http: httpx.Client, vm: str, pages: NDArray[np.uint64]) -> None:
    octets = (pages + np.uint64(GFN)).astype("<u8").tobytes()
    headers = {"Content-Type": "application/octet-stream"}
    http.post(f"{vm}/guest/write", content=octets, headers=headers).raise_for_status()


def die_while_asking(port: int, path: str, header: str, after_bytes: int) -> None:
    """Send a get, read a part of its response, and disconnect with a reset."""
    request = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{header}\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(request)
        if after_bytes:
            connection.recv(after_bytes)


def retry(http: httpx.Client, path: str, headers: dict[str, str]) -> httpx.Response:
    answer = http.post(path, headers=headers)
    while answer.status_code == 409:
        assert answer.json()["code"] == "idempotency_key_in_flight"
        answer = http.post(path, headers=headers)
    return answer


def pages_of(answer: httpx.Response) -> list[int]:
    ranges = answer.json()["page_ranges"]
    return [page for first, count in ranges for page in range(first, first + count)]


@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without"])
def test_a_get_whose_response_was_lost(
    http: httpx.Client, session: Session, *, keyed: bool
) -> None:
    """Each page is written once. With a key it is reported once; without, most are lost."""
    vm = make_vm(http, session)
    path = f"{vm}/memslots/0/dirty-log/get"
    port = http.base_url.port
    assert port is not None
    random = Random(4)
    pages = np.random.default_rng(4).permutation(NPAGES).astype(np.uint64).reshape(ROUNDS, 2, -1)
    reported: list[int] = []
    replayed = 0

    for turn, (first, late) in enumerate(pages):
        write(http, vm, first)
        headers = {"Idempotency-Key": f"get-{turn}"} if keyed else {}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        die_while_asking(port, path, lines, random.choice([0, 1, 100]))
        if turn % 2:
            write(http, vm, late)  # these belong to the lost answer, or to a get after it
        answer = retry(http, path, headers)
        replayed += "Idempotent-Replayed" in answer.headers
        reported += pages_of(answer)
        if not turn % 2:
            write(http, vm, late)
    reported += pages_of(http.post(path))

    assert len(set(reported)) == len(reported), "a page was reported twice"
    if keyed:
        assert sorted(reported) == list(range(NPAGES)), "a page was lost"
        assert replayed > ROUNDS // 2, "the first get was hardly ever served before the retry"
    else:
        assert len(reported) < 0.9 * NPAGES, "nothing was lost: the other case shows nothing"


def test_of_many_retries_at_once_one_is_served(http: httpx.Client, session: Session) -> None:
    vm = make_vm(http, session)
    write(http, vm, np.arange(100, dtype=np.uint64))
    answers: list[httpx.Response] = []

    def ask() -> None:
        with httpx.Client(base_url=http.base_url, timeout=HANG_SECONDS) as client:
            path = f"{vm}/memslots/0/dirty-log/get"
            answers.extend(client.post(path, headers={"Idempotency-Key": "one"}) for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=HANG_SECONDS)

    served = [answer for answer in answers if answer.status_code == 200]
    fresh = [answer for answer in served if "Idempotent-Replayed" not in answer.headers]
    assert (len(answers), len(fresh)) == (40, 1)
    assert {answer.json()["dirty_count"] for answer in served} == {100}
    assert {answer.status_code for answer in answers} <= {200, 409}
