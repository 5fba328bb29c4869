"""What idle VMs take, and that it is given back."""

from collections.abc import Generator
from typing import Final

import pytest

from tests.support.serving import Serving, serving
from tests.support.wire import Calls

pytestmark = pytest.mark.slow


GIB: Final = 1 << 30
KIB: Final = 1 << 10
VMS: Final = 600
IDLE_BYTES: Final = 64 * KIB
"""Of an idle VM with one logging slot of 1 GiB; its planes alone would be 128 KiB."""

CREATION: Final = {
    "session_id": "idle",
    "memslots": [
        {"slot": 0, "guest_phys_addr": 0, "memory_size": GIB, "flags": ["LOG_DIRTY_PAGES"]}
    ],
}


@pytest.fixture(scope="module")
def service() -> Generator[Serving]:
    with serving() as running, Calls(running.url) as calls:
        calls.made("POST", "/v1/sessions", {"session_id": "idle"})
        for _ in range(50):  # what the process takes for itself
            calls.made("POST", "/v1/vms", CREATION)
        yield running


def test_an_idle_vm_of_1_gib_takes_little_memory(service: Serving) -> None:
    before = service.rss_bytes
    with Calls(service.url) as calls:
        for _ in range(VMS):
            calls.made("POST", "/v1/vms", CREATION)
        idle = service.rss_bytes
        for number in range(
            1, VMS + 1
        ):  # queries and gets of clean logs allocate nothing that stays
            calls.made("POST", f"/v1/vms/idle-{number}/memslots/0/dirty-log/get?format=summary")
            calls.made("GET", f"/v1/vms/idle-{number}/stage2?gfn=0&count=1000")
        looked_at = service.rss_bytes

    assert idle - before < VMS * IDLE_BYTES
    assert looked_at - before < VMS * IDLE_BYTES


def test_memory_comes_back_when_a_session_is_reset(service: Serving) -> None:
    peaks = []
    with Calls(service.url) as calls:
        for _ in range(5):
            calls.made("POST", "/v1/sessions/idle/reset")
            for number in range(1, 101):
                calls.made("POST", "/v1/vms", CREATION)
                write = {"gfn_ranges": [[0, 9], [1 << 17, 9]]}
                calls.made("POST", f"/v1/vms/idle-{number}/guest/write", write)
            peaks.append(service.rss_bytes)

    assert peaks[-1] < peaks[1] + 4 * KIB * KIB, peaks  # 100 such VMs have 12.5 MiB of planes
