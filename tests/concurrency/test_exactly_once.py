"""Without manual protect every page written is reported exactly once, to any client and whatever fails."""

import asyncio
import base64
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, TypeAlias

import numpy as np
import pytest

from tests.support.serving import Serving
from tests.support.wire import HANG_SECONDS, OCTETS, Answer, AsyncCalls

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CLIENTS: Final = 64
BASE_GFN: Final = 1 << 18
PAGES_EACH: Final = 96
CPUS: Final = 4

LOSSLESS_FAULTS: Final = (
    *("structf", "ipaf", "ipahacf", "lost_interrupt", "entries_enomem", "unit_busy"),
)
"""copy_to_user is left out: it loses pages, as in the kernel."""

Done: TypeAlias = Callable[[], bool]


def pages_of(answer: Answer, form: str) -> list[int]:
    """The pages that a get reported."""
    if form == "ranges":
        ranges = answer.json()["page_ranges"]
        return [page for first, count in ranges for page in range(first, first + count)]
    octets = base64.b64decode(answer.json()["bitmap"]) if form == "base64" else answer.content
    bits = np.unpackbits(np.frombuffer(octets, np.uint8), bitorder="little")
    return [int(page) for page in np.flatnonzero(bits)]


async def collect(calls: AsyncCalls, vm: str, form: str, reported: Counter[int]) -> None:
    accept = OCTETS if form == "octets" else "application/json"
    query = "" if form == "octets" else f"?format={form}"
    answer = await calls.call("POST", f"{vm}/memslots/0/dirty-log/get{query}", accept=accept)
    assert answer.status == 200, answer
    reported.update(pages_of(answer, form))


async def write_own(calls: AsyncCalls, vm: str, number: int, random: Random) -> None:
    """Write pages that no other client writes, each once, in some order and by some way."""
    own = [number * PAGES_EACH + page for page in range(PAGES_EACH)]
    random.shuffle(own)
    while own:
        count = random.randint(1, 24)
        gfns, own = [BASE_GFN + page for page in own[:count]], own[count:]
        match random.randrange(3):
            case 0:
                await calls.made("POST", f"{vm}/guest/write?vcpu=1", {"gfns": gfns})
            case 1:
                await calls.made("POST", f"{vm}/host/write", {"gfns": gfns})
            case _:
                actions = [{"op": "guest_write", "gfn_ranges": [[gfn, 1]]} for gfn in gfns]
                answer = await calls.made("POST", f"{vm}/batch", {"actions": actions})
                assert all(each["status"] == 200 for each in answer.json()["results"])


async def disturb(calls: AsyncCalls, vm: str, random: Random, *, faults: bool) -> None:
    """Do something that must not lose a page of slot 0."""
    gfn = BASE_GFN + random.randrange(CLIENTS * PAGES_EACH)
    requests: list[tuple[str, str, object]] = [
        ("POST", f"{vm}/host/unmap", {"gfn_ranges": [[gfn, 40]]}),
        ("POST", f"{vm}/guest/read", {"gfn_ranges": [[gfn, 40]]}),
        ("GET", f"{vm}/memslots/0/dirty-log?format=summary", None),
        ("GET", f"{vm}/stage2?gfn={gfn}&count=64", None),
        ("PATCH", f"{vm}/cpus/{random.randrange(1, CPUS)}", {"online": random.random() < 0.5}),
        (
            "PUT",
            f"{vm}/memslots/1",
            {
                "guest_phys_addr": random.choice([0, 1 << 26]),
                "memory_size": 1 << 20,
                "userspace_addr": 0,
                "flags": random.choice([[], ["LOG_DIRTY_PAGES"]]),
            },
        ),
        ("POST", f"{vm}/guest/write", {"gfn_ranges": [[0, 9], [1 << 14, 9]]}),
        ("POST", f"{vm}/memslots/1/dirty-log/clear", {"page_ranges": [[0, 200]]}),
    ]
    if faults:
        fault = {"type": random.choice(LOSSLESS_FAULTS), "probability": 0.7}
        requests += [("POST", f"{vm}/faults", fault)] * 3 + [("DELETE", f"{vm}/faults", None)]
    answer = await calls.call(*random.choice(requests))
    assert answer.status < 300 or answer.code == "no_dirty_log", answer


async def make_vm(calls: AsyncCalls) -> str:
    slots = [
        {
            "slot": 0,
            "guest_phys_addr": BASE_GFN * 4096,
            "memory_size": CLIENTS * PAGES_EACH * 4096,
            "flags": ["LOG_DIRTY_PAGES"],
        },
        {"slot": 1, "guest_phys_addr": 0, "memory_size": 1 << 20},
    ]
    answer = await calls.made("POST", "/v1/vms", {"cpus": CPUS, "vcpus": 2, "memslots": slots})
    return f"/v1/vms/{answer.json()['vm_id']}"


async def while_writing(
    writers: list[Awaitable[None]], others: list[Callable[[Done], Awaitable[None]]]
) -> None:
    """Run writers to their end, and others until then."""
    writing = asyncio.gather(*writers)
    async with asyncio.timeout(HANG_SECONDS), asyncio.TaskGroup() as group:
        for other in others:
            group.create_task(_coroutine(other(writing.done)))
        await writing


async def _coroutine(awaitable: Awaitable[None]) -> None:
    await awaitable


@pytest.mark.parametrize("faults", [False, True], ids=["healthy", "faults"])
async def test_64_clients_on_one_vm(either_service: Serving, *, faults: bool) -> None:
    url = either_service.url
    reported: Counter[int] = Counter()
    async with AsyncCalls(url) as calls:
        vm = await make_vm(calls)

    async def writer(number: int) -> None:
        async with AsyncCalls(url) as calls:
            await write_own(calls, vm, number, Random(number))

    async def collector(is_done: Done, form: str) -> None:
        async with AsyncCalls(url) as calls:
            while not is_done():
                await collect(calls, vm, form, reported)

    async def disturber(is_done: Done, number: int) -> None:
        random = Random(number)
        async with AsyncCalls(url) as calls:
            while not is_done():
                await disturb(calls, vm, random, faults=faults)

    writers = 48
    await while_writing(
        [writer(number) for number in range(writers)],
        [
            *(
                lambda done, form=form: collector(done, form)
                for form in ("ranges", "base64", "octets") * 2
            ),
            *(lambda done, number=number: disturber(done, number) for number in range(10)),
        ],
    )
    taken_meanwhile = len(reported)
    async with AsyncCalls(url) as calls:
        await collect(calls, vm, "ranges", reported)
        await collect(calls, vm, "ranges", reported)

    assert set(reported) == set(range(writers * PAGES_EACH))
    assert set(reported.values()) == {1}
    assert taken_meanwhile > PAGES_EACH, "no client collected while pages were written"


@pytest.mark.parametrize("faults", [False, True], ids=["healthy", "faults"])
async def test_64_clients_on_64_vms(either_service: Serving, *, faults: bool) -> None:
    """Each writes its own VM, and collects from and disturbs the VM of its neighbour."""
    url = either_service.url
    reported: list[Counter[int]] = [Counter() for _ in range(CLIENTS)]
    async with AsyncCalls(url) as calls:
        vms = [await make_vm(calls) for _ in range(CLIENTS)]

    async def client(number: int) -> None:
        random = Random(number)
        other = (number + 1) % CLIENTS
        async with AsyncCalls(url) as calls:
            for part in range(3):
                await write_own(calls, vms[number], part, random)
                await disturb(calls, vms[other], random, faults=faults)
                await collect(
                    calls,
                    vms[other],
                    random.choice(["ranges", "base64", "octets"]),
                    reported[other],
                )

    async with asyncio.timeout(HANG_SECONDS):
        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    async with AsyncCalls(url) as calls:
        for number, vm in enumerate(vms):
            await collect(calls, vm, "ranges", reported[number])

    for each in reported:
        assert set(each) == set(range(3 * PAGES_EACH))
        assert set(each.values()) == {1}
