"""The simulator in place of QEMU, with the same memory: sides that are served in this process."""

import asyncio
from collections.abc import AsyncGenerator
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


async def make_vm(client: AsyncClient) -> AsyncVm:
    """Make a source's VM."""
    memslot = {"slot": 0, "guest_phys_addr": 0, "memory_size": MEMORY}
    vm = await client.create_vm(memslots=[memslot], track_versions=True)
    await vm.host_write(gfn_ranges=[(16 * MIB // PAGE, CONTENT_MIB * MIB // PAGE)])
    return vm


@asynccontextmanager
async def simulated(link: LinkOptions | None = None) -> AsyncGenerator[Launch]:
    """Yield what starts sides of one service."""
    async with AsyncClient.in_process() as client:

        async def launch(name: str, monitor: Path) -> Process:
            vm = await make_vm(client) if name == "src" else None
            endpoint = Endpoint(client, vm, memslots=[(0, MEMORY)], link=link)
            side = Side(name, endpoint, Address(path=str(monitor)))
            return Served(asyncio.create_task(serve([side], lambda *_: None)))

        yield launch
