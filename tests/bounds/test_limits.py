"""Limits of the settings under attack: exact, without effect where refused, and of no one else's concern."""

import json
import socket
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from app.service.vm_runtime import SLOT_BYTES, VM_BYTES
from hacdbs_sim.model import MAX_FAULTS_PER_VM
from tests.support.serving import Serving, serving
from tests.support.wire import HANG_SECONDS, Calls

pytestmark = pytest.mark.slow


MIB: Final = 1 << 20
PAGE: Final = 4096

MAX_VMS: Final = 20
MAX_PAGES: Final = 1 << 16
STATE_BYTES: Final = 3 << 18
MAX_BODY: Final = 1 << 20
MAX_SESSIONS: Final = 50
"""No setting; 10,000 sessions are made by scripts/load."""
RSS_ROOM: Final = 200 * MIB
"""More than any attack below may take; each sends or requests several times as much in all."""


@pytest.fixture(scope="module")
def service() -> Generator[Serving]:
    with serving(
        max_vms=MAX_VMS,
        max_pages_per_vm=MAX_PAGES,
        max_state_bytes=STATE_BYTES,
        max_body_bytes=MAX_BODY,
        constants=f"fleet.MAX_SESSIONS = {MAX_SESSIONS}",
    ) as running:
        yield running


class Attack:
    """A session to attack from, and the VM of another session, which must go on as if alone."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        for session in ("attacker", "bystander"):
            calls.made("POST", "/v1/sessions", {"session_id": session})
        self.other = self.make_vm("bystander", pages=64)
        self.written = 0

    def make_vm(self, session: str = "attacker", *, pages: int = 0) -> str:
        made = self.calls.made("POST", "/v1/vms", self.vm_of(session, pages))
        return f"/v1/vms/{made['vm_id']}"

    @staticmethod
    def vm_of(session: str = "attacker", pages: int = 0) -> dict[str, Any]:
        slot = {"slot": 0, "guest_phys_addr": 0, "memory_size": pages * PAGE}
        slots = [{**slot, "flags": ["LOG_DIRTY_PAGES"]}] if pages else []
        return {"session_id": session, "memslots": slots}

    def state(self) -> dict[str, Any]:
        """Everything that the attacker's session and the service's sums show."""
        vms = self.calls.made("GET", "/v1/vms?session_id=attacker&limit=1000")["vms"]
        logs = [
            self.calls.made("GET", f"/v1/vms/{vm['vm_id']}/memslots/{slot['slot']}/dirty-log")
            for vm in vms
            for slot in vm["memslots"]
            if slot["dirty_count"] is not None
        ]
        metrics = self.calls.call("GET", "/metrics").content.decode()
        sums = [line for line in metrics.splitlines() if line.startswith("hacdbs_")]
        sums = [line for line in sums if not line.startswith(("hacdbs_cleaned", "hacdbs_hook"))]
        return {"vms": vms, "logs": logs, "sums": sums}

    def refused(self, status: int, code: str, method: str, path: str, body: object) -> None:
        """A call is refused, changes nothing, and disturbs no other call."""
        before = self.state()
        for _ in range(3):
            answer = self.calls.call(method, path, body)
            assert (answer.status, answer.code) == (status, code), answer.content[:500]
        assert self.state() == before
        self.others_go_on()

    def others_go_on(self) -> None:
        gfn = self.written % 64
        self.written += 1
        self.calls.made("POST", f"{self.other}/guest/write", {"gfns": [gfn]})
        taken = self.calls.made("POST", f"{self.other}/memslots/0/dirty-log/get")
        assert taken["page_ranges"] == [[gfn, 1]]
        assert self.calls.made("GET", "/readyz") == {"status": "ok"}

    def end(self) -> None:
        for session in ("attacker", "bystander"):
            self.calls.call("DELETE", f"/v1/sessions/{session}")


@pytest.fixture
def attack(service: Serving) -> Generator[Attack]:
    before = service.rss_bytes
    with Calls(service.url) as calls:
        made = Attack(calls)
        yield made
        made.end()
    assert service.rss_bytes < before + RSS_ROOM


def test_as_many_vms_as_allowed_and_no_more(attack: Attack) -> None:
    vms = [attack.make_vm() for _ in range(MAX_VMS - 1)]  # the bystander's is one of them

    attack.refused(409, "vm_limit", "POST", "/v1/vms", attack.vm_of(pages=64))
    attack.calls.made("DELETE", vms[3])

    attack.make_vm(pages=64)


def test_as_many_pages_in_a_vm_as_allowed_and_no_more(attack: Attack) -> None:
    vm = attack.make_vm()
    slot = {"guest_phys_addr": 0, "memory_size": (MAX_PAGES - 1) * PAGE}
    attack.calls.made("PUT", f"{vm}/memslots/0", slot)
    two = {"guest_phys_addr": 1 << 39, "memory_size": 2 * PAGE}

    attack.refused(409, "page_limit", "PUT", f"{vm}/memslots/1", two)
    attack.refused(409, "page_limit", "POST", "/v1/vms", attack.vm_of(pages=MAX_PAGES + 1))
    huge = {"guest_phys_addr": 1 << 38, "memory_size": 1 << 38}
    attack.refused(409, "page_limit", "PUT", f"{vm}/memslots/2", huge)
    attack.calls.made("PUT", f"{vm}/memslots/1", {**two, "memory_size": PAGE})
    attack.calls.made("DELETE", f"{vm}/memslots/0")

    attack.calls.made("PUT", f"{vm}/memslots/0", slot)


def test_as_many_bytes_of_state_as_allowed_and_no_more(attack: Attack) -> None:
    """65,536 pages with a log are 4 planes of 8 KiB and 128 blocks of 2 MiB."""
    each = VM_BYTES + SLOT_BYTES + 4 * MAX_PAGES // 8 + MAX_PAGES // 512
    bystander = VM_BYTES + SLOT_BYTES + 4 * 64 // 8 + 1
    vms = [attack.make_vm(pages=MAX_PAGES) for _ in range((STATE_BYTES - bystander) // each)]

    attack.refused(409, "state_bytes_limit", "POST", "/v1/vms", attack.vm_of(pages=MAX_PAGES))
    (used,) = [line for line in attack.state()["sums"] if line.startswith("hacdbs_state_bytes")]
    assert STATE_BYTES - bystander - each < float(used.split()[1]) <= STATE_BYTES
    attack.calls.made("DELETE", vms[0])

    attack.make_vm(pages=MAX_PAGES)


def test_as_many_faults_as_allowed_and_no_more(attack: Attack) -> None:
    vm = attack.make_vm(pages=64)
    fault = {"type": "ipaf", "enabled": False}
    arm = {"actions": [{"op": "add_fault", **fault}] * (MAX_FAULTS_PER_VM - 1)}
    results = attack.calls.made("POST", f"{vm}/batch", arm)["results"]
    assert {each["status"] for each in results} == {201}
    attack.calls.made("POST", f"{vm}/faults", fault)

    attack.refused(409, "fault_limit", "POST", f"{vm}/faults", fault)
    attack.calls.made("DELETE", f"{vm}/faults/f7")

    attack.calls.made("POST", f"{vm}/faults", fault)


def test_as_many_sessions_as_allowed_and_no_more(attack: Attack) -> None:
    there = 3  # default, and the two of the attack
    for number in range(MAX_SESSIONS - there):
        attack.calls.made("POST", "/v1/sessions", {"session_id": f"many-{number}"})

    attack.refused(409, "session_limit", "POST", "/v1/sessions", {"session_id": "one-more"})
    attack.calls.made("DELETE", "/v1/sessions/many-5")

    attack.calls.made("POST", "/v1/sessions", {"session_id": "one-more"})
    for number in range(MAX_SESSIONS - there):
        attack.calls.call("DELETE", f"/v1/sessions/many-{number}")
    attack.calls.made("DELETE", "/v1/sessions/one-more")


def _body_of(length: int) -> bytes:
    """A body of so many gfns."""
    text = b'{"gfns": [' + b"1," * (length // 2)
    text = text[: length - 3].rstrip(b",")
    return text + b" " * (length - 2 - len(text)) + b"]}"


def test_a_body_as_long_as_allowed_and_no_longer(attack: Attack) -> None:
    vm = attack.make_vm(pages=64)
    attack.calls.made("POST", f"{vm}/guest/write", _body_of(MAX_BODY))

    attack.refused(413, "body_too_large", "POST", f"{vm}/guest/write", _body_of(MAX_BODY + 1))
    attack.calls.made("POST", f"{vm}/guest/write", _body_of(MAX_BODY))


@pytest.mark.parametrize("length", [MAX_BODY, MAX_BODY + 1, 64 * MAX_BODY])
def test_a_body_in_chunks_is_counted_as_it_comes(
    service: Serving, attack: Attack, length: int
) -> None:
    vm = attack.make_vm(pages=64)
    before, rss = attack.state(), service.rss_bytes
    head = (
        f"POST {vm}/host/unmap HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    content = memoryview(_body_of(length))
    address = urlsplit(service.url)
    with socket.create_connection(
        (address.hostname, address.port), timeout=HANG_SECONDS
    ) as connection:
        connection.sendall(head)
        answer = b""
        # Refused while we are still sending, the connection may be gone with its answer.
        with suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, length, 1 << 16):
                piece = content[start : start + (1 << 16)]
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), bytes(piece)))
            connection.sendall(b"0\r\n\r\n")
            while b"\r\n\r\n" not in answer and (more := connection.recv(1 << 16)):
                answer += more

    if length <= MAX_BODY:
        assert answer.startswith(b"HTTP/1.1 200 ")
        return
    assert not answer or answer.startswith(b"HTTP/1.1 413 ")
    assert attack.state() == before
    assert service.rss_bytes < rss + 32 * MAX_BODY
    attack.others_go_on()


def test_a_batch_whose_answers_grow_too_large_stops_there(attack: Attack) -> None:
    """65,536 pages, every other one dirty: each get lists 32,768 ranges of 16 bytes, 8 MiB in all."""
    vm = attack.make_vm(pages=MAX_PAGES)
    attack.calls.made("PATCH", vm, {"manual_dirty_log_protect2": 1})
    scattered = {"gfn_ranges": [[2 * n, 1] for n in range(MAX_PAGES // 2)]}
    attack.calls.made("POST", f"{vm}/host/write", scattered)
    get = {"op": "get_dirty_log", "slot": 0, "format": "ranges"}

    answer = attack.calls.call("POST", f"{vm}/batch", {"actions": [get] * 100})

    assert answer.status == 200
    assert len(answer.content) < 32 * MIB
    results = answer.json()["results"]
    assert [each["status"] for each in results] == [200] * (len(results) - 1) + [409]
    assert results[-1]["body"]["code"] == "batch_answer_limit"
    assert 10 < len(results) < 40
    attack.others_go_on()


def test_lists_of_pages_far_longer_than_the_vm_are_held_to_the_limits(attack: Attack) -> None:
    vm = attack.make_vm(pages=64)
    room = MAX_BODY - 100
    pairs = json.dumps({"gfn_ranges": [[0, (1 << 28) - 1]] * (room // 18)}).encode()
    gfns = json.dumps({"gfns": [(1 << 28) - 1] * (room // 12)}).encode()
    for body in (pairs, gfns):
        written = attack.calls.made("POST", f"{vm}/guest/write", body)
        assert written["mmio_exits"] > 0
        assert written["newly_dirty"] <= 64
        attack.others_go_on()
    beyond = json.dumps({"gfns": [1] * (room // 4) + [1 << 28]}).encode()
    attack.refused(409, "gfn_beyond_ipa_space", "POST", f"{vm}/guest/write", beyond)
