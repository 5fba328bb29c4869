"""Bytes that no client should send: refused, and other callers need not wait."""

import json
import threading
from collections.abc import Generator

import pytest

from tests.fuzz.attacks import ATTACKS, Attack, perform
from tests.support.serving import Serving, watched_service
from tests.support.wire import Connection, Request

JSON = {"Content-Type": "application/json"}
SESSION = "well-behaved"
MEMSLOT = {
    "slot": 0,
    "guest_phys_addr": 0,
    "memory_size": "4MiB",
    "flags": ["LOG_DIRTY_PAGES"],
}


@pytest.fixture(scope="module")
def service() -> Generator[Serving]:
    with watched_service() as running:
        yield running


def posted(path: str, body: object) -> Request:
    return Request("POST", path, JSON, json.dumps(body).encode())


@pytest.fixture(scope="module")
def good(service: Serving) -> Generator[Connection]:
    """A client that behaves, with a VM of its own."""
    with Connection(service.port) as connection:
        connection.exchange(posted("/v1/sessions", {"session_id": SESSION}))
        made = posted("/v1/vms", {"session_id": SESSION, "memslots": [MEMSLOT]})
        assert connection.exchange(made).status == 201
        yield connection


def migrate_a_little(good: Connection, gfn: int) -> None:
    """Write pages and take the log, which must hold these pages and no other."""
    vm = f"/v1/vms/{SESSION}-1"
    written = good.exchange(posted(f"{vm}/guest/write", {"gfns": [gfn, gfn + 70]}))
    taken = good.exchange(Request("POST", f"{vm}/memslots/0/dirty-log/get", {}, b""))

    assert (written.status, taken.status) == (200, 200)
    assert json.loads(taken.content)["page_ranges"] == [[gfn, 1], [gfn + 70, 1]]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_others_are_answered_while_it_goes_on(
    service: Serving, good: Connection, attack: Attack
) -> None:
    answered: list[list[int]] = []
    attackers = [
        threading.Thread(target=lambda: answered.append(perform(attack, service.port)))
        for _ in range(3)
    ]
    for attacker in attackers:
        attacker.start()
    migrate_a_little(good, 0)
    for attacker in attackers:
        attacker.join()

    migrate_a_little(good, 100)
    assert answered == [list(attack.answers if not attack.resets else ())] * 3
    service.check()


def test_descriptors_come_back(service: Serving, good: Connection) -> None:
    migrate_a_little(good, 200)
    before = service.descriptors

    connections = [Connection(service.port) for _ in range(100)]
    for connection in connections:
        connection.send(b"GET /livez HTTP/1.1\r\n")
    migrate_a_little(good, 300)
    for connection in connections:
        connection.close()

    # The server learns of the closes in order, so those came before this answer.
    migrate_a_little(good, 400)
    assert service.descriptors <= before + 5
