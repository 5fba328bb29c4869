"""Records concurrent calls of many clients on a few VMs, and their answers."""

import asyncio
import time
from random import Random

from tests.concurrency.linearizability import Event
from tests.concurrency.vm_calls import CREATION, random_call, seen
from tests.support.wire import AsyncCalls


async def make_vms(url: str, count: int) -> list[str]:
    """Make VMs that the scalar specification starts from; return their paths."""
    async with AsyncCalls(url) as calls:
        made = [(await calls.made("POST", "/v1/vms", CREATION)).json() for _ in range(count)]
    return [f"/v1/vms/{vm['vm_id']}" for vm in made]


async def record(
    url: str, vms: list[str], *, clients: int, calls_each: int, seed: str, with_faults: bool = True
) -> list[list[Event]]:
    """Let clients call at random; return the history of each VM."""
    histories: list[list[Event]] = [[] for _ in vms]
    ready = asyncio.Barrier(clients)

    async def client(number: int) -> None:
        random = Random(f"{seed} {number}")
        async with AsyncCalls(url) as calls:
            await ready.wait()
            for _ in range(calls_each):
                vm = random.randrange(len(vms))
                call = random_call(random, with_faults=with_faults)
                began = time.monotonic()
                answer = await calls.call(call.method, vms[vm] + call.path, call.body)
                event = Event(call, seen(answer), began, time.monotonic())
                histories[vm].append(event)

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(client(number))
    return histories
