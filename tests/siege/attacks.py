"""What takes the most memory, from many clients at once, again and again until the siege ends."""

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.support.wire import HOST, Answer, Connection, NoAnswerError, Request

MIB: Final = 1 << 20
PATIENCE_SECONDS: Final = 120.0
TIB: Final = 1 << 40
DRIP_SECONDS: Final = 1.0

GOOD: Final = frozenset({200, 201, 202, 204})
FAIR: Final = frozenset({401, 403, 404, 408, 409, 412, 413, 415, 422})
"""Refusals. Anything else, a 5xx for one, ends the siege as lost."""


@dataclass(eq=False)
class Siege:
    """What the attackers share."""

    port: int
    settings: dict[str, int]
    """The service's limits, by name."""
    shared_vm: str
    """The path of a VM with a log of 1 TiB."""
    over: threading.Event = field(default_factory=threading.Event)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Answers by attack and status; 0: the connection was closed."""
    faults: list[str] = field(default_factory=list)
    connections: set[Connection] = field(default_factory=set)
    counting: threading.Lock = field(default_factory=threading.Lock)

    def connect(self) -> Connection:
        """Return a connection that `end` cuts."""
        connection = Connection(self.port, PATIENCE_SECONDS)
        self.connections.add(connection)
        return connection

    def end(self) -> None:
        """Stop all attackers, those that wait for the service too."""
        self.over.set()
        for connection in tuple(self.connections):
            connection.cut()

    def count(self, attack: str, answer: Answer | None) -> None:
        """Count an answer; None: the connection was closed."""
        with self.counting:
            self.statuses[attack, 0 if answer is None else answer.status] += 1
        if answer is not None and answer.status not in GOOD | FAIR:
            self.faults.append(f"{attack}: {answer.status} {answer.content[:300]!r}")


class Attacker:
    """One client of an attack, with a session and a VM of its own."""

    def __init__(self, siege: Siege, name: str, number: int) -> None:
        self.siege = siege
        self.name = name
        self.session = f"{name}-{number}"
        self.connection = siege.connect()
        self.vm = ""

    def send(self, method: str, path: str, body: object = None, **more: Any) -> Answer | None:
        """Make a call; None if the connection was closed."""
        return self.exchange(Request.of(method, path, body, **more))

    def exchange(self, request: Request) -> Answer | None:
        """Send a request; None if the connection was closed."""
        try:
            answer = self.connection.exchange(request)
        except (NoAnswerError, ConnectionError):
            if self.goes_on:
                self.siege.count(self.name, None)
            self.connection.close()
            return None
        self.siege.count(self.name, answer)
        return answer

    def settle(self, memory_bytes: int) -> bool:
        """Make session and VM; return whether that worked."""
        self.send("POST", "/v1/sessions", {"session_id": self.session})
        slot = {"slot": 0, "guest_phys_addr": 0, "memory_size": memory_bytes}
        slots = [{**slot, "flags": ["LOG_DIRTY_PAGES"]}]
        spec = {"session_id": self.session, "ipa_bits": 42, "memslots": slots}
        answer = self.send("POST", "/v1/vms", spec)
        if answer is None or answer.status != 201:
            return False
        self.vm = f"/v1/vms/{answer.json()['vm_id']}"
        return True

    @property
    def goes_on(self) -> bool:
        return not self.siege.over.is_set()


def _filled(head: bytes, item: bytes, tail: bytes, size: int) -> bytes:
    count = (size - len(head) - len(tail)) // len(item)
    return head + (item * count)[:-1] + tail


def batches(attacker: Attacker) -> None:
    """Batches as long as allowed and longer: of gfns, of pairs, of junk, of 10,000 actions."""
    size = attacker.siege.settings["max_batch_bytes"] - 100
    write = b'{"actions":[{"op":"guest_write",'
    bodies = [
        _filled(write + b'"gfns":[', b"1,", b"]}]}", size),
        _filled(write + b'"gfn_ranges":[', b"[1,1],", b"]}]}", size),
        _filled(write + b'"gfns":[1],"junk":[', b"[],", b"]}]}", size),
        _filled(
            b'{"actions":[', b'{"op":"get_dirty_log","slot":0,"format":"base64"},', b"]}", 400_000
        ),
        _filled(write + b'"gfns":[', b"1,", b"]}]}", 56 * MIB),
    ]
    if attacker.settle(64 * MIB):
        for body in itertools.cycle(bodies):
            if not attacker.goes_on:
                return
            attacker.send("POST", f"{attacker.vm}/batch", body)


def octet_writes(attacker: Attacker) -> None:
    """Octets as many as allowed, gfns in disorder."""
    size = attacker.siege.settings["max_body_bytes"]
    gfns = b"".join((n * 7919 % 16384).to_bytes(8, "little") for n in range(1 << 14))
    octets = gfns * (size // len(gfns))
    if attacker.settle(64 * MIB):
        while attacker.goes_on:
            attacker.send("POST", f"{attacker.vm}/guest/write", octets=octets)


def json_writes(attacker: Attacker) -> None:
    """JSON of pages as long as allowed, plain and odd."""
    size = attacker.siege.settings["max_body_bytes"]
    bodies = [
        _filled(b'{"gfns":[', b"1,", b"]}", size // 4),
        _filled(b'{"gfn_ranges":[', b"[1,1],", b"]}", size // 4),
        _filled(b'{"gfns":null,"gfn_ranges":[', b"[1,1],", b"]}", size // 8),
        _filled(b'{"gfn_ranges":[', b"[[],1],", b"]}", size),
    ]
    if attacker.settle(64 * MIB):
        for body in itertools.cycle(bodies):
            if not attacker.goes_on:
                return
            attacker.send("POST", f"{attacker.vm}/guest/write", body)


def slow_uploads(attacker: Attacker) -> None:
    """A long body that comes at once but for its end, which drips."""
    size = attacker.siege.settings["max_body_bytes"]
    if not attacker.settle(64 * MIB):
        return
    head = (
        f"POST {attacker.vm}/guest/write HTTP/1.1\r\nHost: {HOST}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    )
    piece = bytes(MIB)
    while attacker.goes_on:
        with suppress(OSError), attacker.siege.connect() as connection:
            connection.send(head.encode())
            for _ in range(size // MIB - 1):
                if not attacker.goes_on:
                    return
                connection.send(piece)
            for _ in range(int(PATIENCE_SECONDS)):
                if attacker.siege.over.wait(DRIP_SECONDS):
                    return
                connection.send(bytes(1 << 10))
        attacker.siege.count(attacker.name, None)


def peeks(attacker: Attacker) -> None:
    """Peeks at a log of 1 TiB as base64, as octets, as ranges, as words."""
    for log_format in itertools.cycle(["base64", "base64", "ranges", "words"]):
        if not attacker.goes_on:
            return
        attacker.send("GET", f"{attacker.siege.shared_vm}/memslots/0/dirty-log?format={log_format}")


def unread_answers(attacker: Attacker) -> None:
    """The same, of which nothing is read."""
    target = f"{attacker.siege.shared_vm}/memslots/0/dirty-log?format=base64"
    while attacker.goes_on:
        with suppress(OSError), attacker.siege.connect() as connection:
            connection.send(Request.of("GET", target).encoded())
            attacker.siege.over.wait(PATIENCE_SECONDS / 2)
        attacker.siege.count(attacker.name, None)


def keys(attacker: Attacker) -> None:
    """Requests with keys, whose answers are kept."""
    if not attacker.settle(64 * MIB):
        return
    for number in itertools.count():
        if not attacker.goes_on:
            return
        request = Request.of("POST", f"{attacker.vm}/guest/write", {"gfns": [number % 99]})
        key = {"Idempotency-Key": f"{attacker.session}-{number:0200d}"}
        attacker.exchange(replace(request, headers={**request.headers, **key}))


def silent_readers(attacker: Attacker) -> None:
    """A stream of events that nobody reads."""
    while attacker.goes_on:
        with suppress(OSError), attacker.siege.connect() as connection:
            request = Request.of("GET", "/v1/events", accept="text/event-stream")
            connection.send(request.encoded())
            attacker.siege.over.wait(PATIENCE_SECONDS)
        attacker.siege.count(attacker.name, None)


def many_parts(attacker: Attacker) -> None:
    """VMs of thousands of slots and faults, listed."""
    slot = {"memory_size": 4096, "flags": ["LOG_DIRTY_PAGES"]}
    slots = [{**slot, "slot": n, "guest_phys_addr": n << 12} for n in range(20_000)]
    faults = [{"type": "ipaf", "when": {"index": n % 512}} for n in range(1_000)]
    body = {"session_id": attacker.session, "memslots": slots, "faults": faults}
    octets = json.dumps(body).encode()
    attacker.send("POST", "/v1/sessions", {"session_id": attacker.session})
    while attacker.goes_on:
        for _ in range(4):
            attacker.send("POST", "/v1/vms", octets)
        attacker.send("GET", f"/v1/vms?session_id={attacker.session}")
        attacker.send("POST", f"/v1/sessions/{attacker.session}/reset")


def comparisons(attacker: Attacker) -> None:
    """Comparisons and scenarios as long as allowed, of which most is junk."""
    size = 8 * MIB - 100
    compared = _filled(b'{"vm":{"name":"x"},"migration":{},"junk":[', b"[],", b"]}", size)
    applied = _filled(b'{"name":"x","steps":[', b"[],", b"]}", size)
    attacker.send("POST", "/v1/sessions", {"session_id": attacker.session})
    while attacker.goes_on:
        attacker.send("POST", "/v1/comparisons", compared)
        attacker.send("PUT", f"/v1/sessions/{attacker.session}/scenario", applied)


ATTACKS: Final[dict[Callable[[Attacker], None], int]] = {
    batches: 4,
    octet_writes: 6,
    json_writes: 4,
    slow_uploads: 24,
    peeks: 40,
    unread_answers: 8,
    keys: 4,
    silent_readers: 64,
    many_parts: 2,
    comparisons: 2,
}
"""The attacks, and how many clients make each."""


def begin(siege: Siege) -> Sequence[threading.Thread]:
    """Start all attackers."""
    threads = []
    for attack, clients in ATTACKS.items():
        for number in range(clients):
            attacker = Attacker(siege, attack.__name__.replace("_", "-"), number)
            thread = threading.Thread(target=_guarded, args=(attack, attacker), daemon=True)
            thread.start()
            threads.append(thread)
    return threads


def _guarded(attack: Callable[[Attacker], None], attacker: Attacker) -> None:
    try:
        attack(attacker)
    except TimeoutError:
        attacker.siege.faults.append(f"{attacker.name}: no answer in {PATIENCE_SECONDS:g} s")
    except OSError as error:
        if attacker.goes_on:
            attacker.siege.faults.append(f"{attacker.name}: {error!r}")
    finally:
        attacker.connection.close()
