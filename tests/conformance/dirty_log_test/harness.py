"""One run of the selftest against a service over HTTP: a VM, a guest, collections, verification."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.conformance.dirty_log_test.guest import Guest
from tests.conformance.dirty_log_test.verifying import Verified

OCTETS: Final = {"accept": "application/octet-stream"}
BODY: Final = {"content-type": "application/octet-stream"}
EXTRA_PAGES: Final = 3
"""On purpose no multiple of 64: the last word of the bitmap is not a whole one."""

Log: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """What a run is: the VM, the slot, how much the guest writes, what else happens.

    Attributes:
        size_bytes: The slot's size but for its three odd pages.
        iterations: How many.
        bursts: Batches of writes before the first collection and again after it.
        burst_writes: Writes in each.
        concurrent: Whether the guest continues to write while the first collection runs.
        vm: What the VM's body has beside its slot.
        backing: What is behind the slot.
        populate: Whether the guest writes every page before the log is begun.
        unplugs: Whether CPUs go and come between iterations.
        page_size: Bytes of a guest page.
    """

    size_bytes: int = 64 << 20
    iterations: int = 8
    bursts: int = 3
    burst_writes: int = 1500
    concurrent: bool = False
    vm: Mapping[str, Any] = field(default_factory=dict)
    backing: int | None = None
    populate: bool = True
    unplugs: bool = False
    page_size: int = 4096
    seed: int = 1

    @property
    def npages(self) -> int:
        return self.size_bytes // self.page_size + EXTRA_PAGES


class Vm:
    """The VM under test, by its calls."""

    def __init__(self, client: httpx.AsyncClient, path: str, plan: Plan) -> None:
        self.client = client
        self.path = path
        self.plan = plan
        self.base_gfn = (1 << 30) // plan.page_size
        self.refused = 0

    async def set_memslot(self, flags: list[str]) -> None:
        """KVM_SET_USER_MEMORY_REGION of the slot under test."""
        backing = {} if self.plan.backing is None else {"backing": self.plan.backing}
        body = {
            "guest_phys_addr": hex(1 << 30),
            "memory_size": self.plan.npages * self.plan.page_size,
            "flags": flags,
            **backing,
        }
        _checked(await self.client.put(f"{self.path}/memslots/0", json=body))

    async def write(self, pages: NDArray[np.uint64]) -> None:
        """Guest writes, as octets."""
        gfns = (pages + np.uint64(self.base_gfn)).astype("<u8").tobytes()
        url = f"{self.path}/guest/write"
        _checked(await self.client.post(url, content=gfns, headers=BODY))

    async def get(self) -> Log:
        """KVM_GET_DIRTY_LOG."""
        url = f"{self.path}/memslots/0/dirty-log/get"
        answer = await self.client.post(url, headers=OCTETS)
        while answer.status_code == 409 and answer.json().get("errno") == "EFAULT":
            self.refused += 1  # as userspace would, ask again
            answer = await self.client.post(url, headers=OCTETS)
        bits = np.unpackbits(np.frombuffer(_checked(answer).content, np.uint8), bitorder="little")
        assert not bits[self.plan.npages :].any()
        return bits[: self.plan.npages].astype(np.bool_)

    async def clear_all(self, log: Log) -> None:
        """KVM_CLEAR_DIRTY_LOG(0, all pages) of what a get answered."""
        octets = np.packbits(log, bitorder="little").tobytes()
        octets += bytes(-len(octets) % 8)
        url = f"{self.path}/memslots/0/dirty-log/clear"
        _checked(await self.client.post(url, content=octets, headers=BODY))

    async def plug(self, cpu: int, *, online: bool) -> None:
        _checked(await self.client.patch(f"{self.path}/cpus/{cpu}", json={"online": online}))

    async def counters(self) -> dict[str, int]:
        counters: dict[str, int] = _checked(await self.client.get(self.path)).json()["counters"]
        return counters

    async def fault_hits(self) -> Counter[str]:
        """Return how often faults of each type have hit."""
        hits: Counter[str] = Counter()
        answer = _checked(await self.client.get(f"{self.path}/faults", params={"limit": 1000}))
        for fault in answer.json()["faults"]:
            hits[fault["type"]] += fault["hits"]
        return hits


Collect: TypeAlias = Callable[[Vm], Awaitable[Log]]


@dataclass(frozen=True)
class Mode:
    """A way to collect the log: what the VM is made with, and one collection."""

    name: str
    manual_dirty_log_protect2: int
    collect: Collect

    @property
    def initially_set(self) -> bool:
        return self.manual_dirty_log_protect2 == 3


async def _get_only(vm: Vm) -> Log:
    return await vm.get()


async def _get_then_clear(vm: Vm) -> Log:
    log = await vm.get()
    await vm.clear_all(log)
    return log


MODES: Final = (
    Mode("dirty-log", 0, _get_only),
    Mode("clear-log", 3, _get_then_clear),
)
"""The modes of the kernel's test that have a bitmap."""


@dataclass
class Run:
    """What a run came to."""

    verified: Verified
    counters: dict[str, int]
    writes: int
    refused: int
    hits: Counter[str]


async def run(client: httpx.AsyncClient, mode: Mode, plan: Plan) -> Run:
    """Run the selftest; raise VerificationError if log and memory disagree."""
    body = {
        "page_size": plan.page_size,
        "manual_dirty_log_protect2": mode.manual_dirty_log_protect2,
        **plan.vm,
    }
    made = _checked(await client.post("/v1/vms", json=body))
    vm = Vm(client, made.headers["location"], plan)
    guest = Guest(plan.npages, np.random.default_rng(plan.seed))
    verified = Verified()
    await vm.set_memslot([])
    if plan.populate:
        await vm.write(np.arange(plan.npages, dtype=np.uint64))
    await vm.set_memslot(["LOG_DIRTY_PAGES"])
    for iteration in range(1, plan.iterations + 1):
        if plan.unplugs:
            await vm.plug(iteration % 2, online=False)
        while_running, once_stopped = await _iterate(vm, mode, guest, iteration)
        verified.verify(
            iteration,
            guest.values,
            while_running,
            once_stopped,
            initially_set=mode.initially_set,
        )
        if plan.unplugs:
            await vm.plug(iteration % 2, online=True)
    counters, hits = await vm.counters(), await vm.fault_hits()
    _checked(await client.delete(vm.path))
    return Run(verified, counters, guest.written, vm.refused, hits)


async def _iterate(vm: Vm, mode: Mode, guest: Guest, iteration: int) -> tuple[Log, Log]:
    """Let the guest write, collect while it is half-way, let it end, collect again."""
    plan = vm.plan

    async def write_bursts() -> None:
        for _ in range(plan.bursts):
            await vm.write(guest.burst(iteration, plan.burst_writes))

    if plan.concurrent:
        running = [asyncio.create_task(write_bursts()) for _ in range(2)]
        await asyncio.sleep(0)  # the guest's first calls go out before the collection's
        while_running = await mode.collect(vm)
        await asyncio.gather(*running)
    else:
        await write_bursts()
        while_running = await mode.collect(vm)
        await write_bursts()
    return while_running, await mode.collect(vm)


def _checked(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, answer.text
    return answer
