"""A VM deleted or a session reset under its callers: they are answered, or get a 404."""

import asyncio
from collections import Counter
from random import Random
from typing import Final

import pytest

from tests.support.serving import Serving
from tests.support.wire import HANG_SECONDS, Answer, AsyncCalls

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

GIB: Final = 1 << 30
SLOT: Final = {
    "slot": 0,
    "guest_phys_addr": 0,
    "memory_size": 32 * GIB,  # large enough that calls run in worker threads
    "flags": ["LOG_DIRTY_PAGES"],
}
ENDINGS: Final = 15
ANSWERS_BETWEEN: Final = 40
"""How many calls are answered between two endings, at least."""

WRITE: Final = {"gfn_ranges": [[0, 32 * GIB // 4096]]}


class Answers:
    """What callers were answered, by status and code."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[int, str]] = Counter()
        self._news = asyncio.Condition()

    async def add(self, answer: Answer) -> None:
        self.counts[answer.status, answer.code if answer.status >= 400 else ""] += 1
        async with self._news:
            self._news.notify_all()

    async def wait_for_more(self) -> None:
        """Wait until the callers are well at it again."""
        enough = self.counts.total() + ANSWERS_BETWEEN
        async with self._news:
            await self._news.wait_for(lambda: self.counts.total() >= enough)

    @property
    def refused(self) -> set[tuple[int, str]]:
        return {seen for seen in self.counts if seen[0] >= 400}

    @property
    def has_both(self) -> bool:
        """Whether calls were done, and others found their VM gone."""
        done = sum(count for (status, _), count in self.counts.items() if status < 300)
        return (404, "no_such_vm") in self.counts and done > 20


@pytest.mark.parametrize("ending", ["reset", "delete_session", "delete_vm"])
async def test_calls_in_flight_are_answered_or_get_a_404(service: Serving, ending: str) -> None:
    url, session = service.url, f"ends-by-{ending.replace('_', '-')}"
    vm = f"/v1/vms/{session}-1"
    answers = Answers()
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
                await answers.add(await calls.call(*request))

    async def ender() -> None:
        async with AsyncCalls(url) as calls:
            endings = 0
            while endings < ENDINGS or not answers.has_both:
                endings += 1
                await answers.wait_for_more()
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
        async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
            group.create_task(ender())
            for number in range(16):
                group.create_task(caller(number))
        await calls.made("DELETE", f"/v1/sessions/{session}")
        after = await calls.made("GET", "/metrics")

    assert answers.refused <= {
        (404, "no_such_vm"),
        (404, "no_such_session"),
        (409, "session_reset"),
        (409, "fault_limit"),
    }
    assert answers.has_both
    assert service.rss_bytes < before + (1 << 30)
    assert after.status == 200
