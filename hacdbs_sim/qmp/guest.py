"""The guest of one side: a VM of the service, whose guest can be stopped.

The guest of a VM runs while it is migrated and while its dirty rate is measured, and only then does
virtual time pass. A guest that is stopped meanwhile writes nothing: its workloads are taken off, and are
added again when it goes on, each from its start.
"""

from dataclasses import fields
from typing import Any, Final

import orjson

from hacdbs_sim import model
from hacdbs_sim.client import AsyncClient, AsyncVm
from hacdbs_sim.model.workloads import TraceProgress, WorkloadKind
from hacdbs_sim.qmp.errors import QmpError

Workload = dict[str, Any]

_PROGRESS: Final = {each.name for each in fields(TraceProgress)} - {"writes_per_second"}
"""What a workload reports and cannot be given."""


class Guest:
    """The guest of one side.

    Args:
        client: The service.
        vm: The VM; None: it has not arrived yet.

    Attributes:
        vm: The same.
        stopped: The workloads of a guest that is stopped.
    """

    def __init__(self, client: AsyncClient, vm: AsyncVm | None) -> None:
        self._client = client
        self.vm = vm
        self.stopped: list[Workload] = []

    @property
    def here(self) -> AsyncVm:
        """The VM.

        Raises:
            QmpError: It has not arrived yet.
        """
        if self.vm is None:
            raise QmpError("Guest is waiting for an incoming migration")
        return self.vm

    def adopt(self, vm_id: str) -> None:
        """Take a VM of the service as this one."""
        self.vm = self._client.vm(vm_id)

    async def memslots(self) -> list[tuple[int, int]]:
        """Return the numbers and sizes of the memslots."""
        if self.vm is None:
            return []
        return [(each.slot, each.memory_size) async for each in self.vm.list_memslots()]

    async def stop(self) -> None:
        """Stop the guest.

        Raises:
            QmpError: It has a workload that could not be added again.
        """
        if self.vm is None:
            return
        response = await self.vm.send(
            "GET", "workloads", params={"limit": model.MAX_WORKLOADS_PER_VM}
        )
        found: list[Workload] = orjson.loads(response.content)["workloads"]
        if any(each["kind"] == WorkloadKind.INTERVALS for each in found):
            raise QmpError("a guest with a workload of kind intervals cannot be stopped")
        self.stopped = [
            {
                name: value
                for name, value in each.items()
                if name not in _PROGRESS and value is not None
            }
            for each in found
        ]
        await self.vm.delete_workloads()

    async def go_on(self) -> None:
        """Let a stopped guest go on."""
        workloads, self.stopped = self.stopped, []
        for each in workloads:
            await self.here.send("POST", "workloads", body=each)
