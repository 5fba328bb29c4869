"""The simulator in place of QEMU, with the same memory: sides that are served in this process."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from typing_extensions import override

from hacdbs_sim.client import AsyncClient, AsyncVm
from hacdbs_sim.model.units import MIB
from hacdbs_sim.qmp import Address, Endpoint, LinkOptions, Side, serve
from tests.qmp.harness import Launch, Process
from tests.qmp.real import CONTENT_MIB

MEMORY: Final = 128 * MIB
PAGE: Final = 4_096


class Served(Process):
    """A side that is served."""

    def __init__(self, task: asyncio.Task[int]) -> None:
        self._task = task

    @property
    @override
    def returncode(self) -> int | None:
        return self._task.result() if self._task.done() else None

    @override
    async def wait(self) -> int:
        await asyncio.wait([self._task])
        return 9 if self._task.cancelled() else self._task.result()

    @override
    def kill(self) -> None:
        self._task.cancel()


def launching(
    client: AsyncClient,
    link: LinkOptions | None = None,
    memslots: list[tuple[int, int]] | None = None,
    prepare: Callable[[AsyncVm], Awaitable[object]] | None = None,
) -> Launch:
    """Return what starts sides.

    Args:
        client: The service.
        link: What carries their migrations.
        memslots: What destinations expect; None: what a source has.
        prepare: Called with a source's VM.
    """

    async def launch(name: str, monitor: Path) -> Process:
        vm = None
        if name == "src":
            memslot = {"slot": 0, "guest_phys_addr": 0, "memory_size": MEMORY}
            vm = await client.create_vm(memslots=[memslot], track_versions=True)
            await vm.host_write(gfn_ranges=[(16 * MIB // PAGE, CONTENT_MIB * MIB // PAGE)])
            if prepare is not None:
                await prepare(vm)
        endpoint = Endpoint(client, vm, memslots=memslots or [(0, MEMORY)], link=link)
        side = Side(name, endpoint, Address(path=str(monitor)))
        return Served(asyncio.create_task(serve([side], lambda *_: None)))

    return launch


@asynccontextmanager
async def simulated() -> AsyncGenerator[Launch]:
    """Yield what starts sides of one service."""
    async with AsyncClient.in_process() as client:
        yield launching(client)
