"""A VM deleted or a session reset under its callers: they are answered, or told that it is gone."""

import asyncio
from collections import Counter
from random import Random
from typing import Final

import pytest

from tests.support.serving import Serving
from tests.support.wire import AsyncCalls

pytestmark = pytest.mark.anyio

GIB: Final = 1 << 30
SLOT: Final = {
    "slot": 0,
    "guest_phys_addr": 0,
    "memory_size": 32 * GIB,  # large enough that calls run in worker threads
    "flags": ["LOG_DIRTY_PAGES"],
}
WRITE: Final = {"gfn_ranges": [[0, 32 * GIB // 4096]]}


@pytest.mark.parametrize("ending", ["reset", "delete_session", "delete_vm"])
async def test_calls_in_flight_are_answered_or_told_404(service: Serving, ending: str) -> None:
    url, session = service.url, f"ends-by-{ending.replace('_', '-')}"
    vm = f"/v1/vms/{session}-1"
    answers: Counter[tuple[int, str]] = Counter()
    over = asyncio.Event()
    creation = {"session_id": session, "ipa_bits": 44, "memslots": [SLOT]}

    async def caller(number: int) -> None:
        random = Random(number)
        async with AsyncCalls(url) as calls:
            while not over.is_set():
                request = random.choice(
                    [
                        ("POST", f"{vm}/guest/write", WRITE),
                        ("POST", f"{vm}/memslots/0/dirty-log/get?format=summary", None),
                        ("GET", f"{vm}/memslots/0/dirty-log?format=summary", None),
                        ("POST", f"{vm}/faults", {"type": "ipaf", "times": 1}),
                        ("GET", f"{vm}", None),
                        ("POST", f"{vm}/batch", {"actions": [{"op": "host_write", "gfns": [5]}]}),
                        ("POST", "/v1/vms", creation),
                    ]
                )
                answer = await calls.call(*request)
                answers[answer.status, answer.code if answer.status >= 400 else ""] += 1

    async def ender() -> None:
        async with AsyncCalls(url) as calls:
            for _ in range(15):
                await asyncio.sleep(0.05)
                match ending:
                    case "reset":
                        await calls.made("POST", f"/v1/sessions/{session}/reset")
                    case "delete_session":
                        await calls.made("DELETE", f"/v1/sessions/{session}")
                        await calls.made("POST", "/v1/sessions", {"session_id": session})
                    case _:
                        for listed in (
                            await calls.made("GET", f"/v1/vms?session_id={session}")
                        ).json()["vms"]:
                            await calls.made("DELETE", f"/v1/vms/{listed['vm_id']}")
                        # Numbers are not used again before a reset.
                        await calls.made("POST", f"/v1/sessions/{session}/reset")
        over.set()

    async with AsyncCalls(url) as calls:
        await calls.made("POST", "/v1/sessions", {"session_id": session})
        await calls.made("POST", "/v1/vms", creation)
        before = service.rss_bytes
        async with asyncio.timeout(120), asyncio.TaskGroup() as group:
            group.create_task(ender())
            for number in range(16):
                group.create_task(caller(number))
        await calls.made("DELETE", f"/v1/sessions/{session}")
        after = await calls.made("GET", "/metrics")

    refused = {told for told in answers if told[0] >= 400}
    assert refused <= {(404, "no_such_vm"), (404, "no_such_session"), (409, "fault_limit")}
    assert sum(answers[told] for told in answers if told[0] < 300) > 20
    assert (404, "no_such_vm") in answers
    assert service.rss_bytes < before + (1 << 30)
    assert after.status == 200
