"""Fault injection."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Self

from hacdbs_sim.client._async.resource import AsyncResource
from hacdbs_sim.client.bodies import Fields
from hacdbs_sim.client.errors import ClientError, NotFoundError
from hacdbs_sim.client.request import arguments
from hacdbs_sim.client.results import read
from hacdbs_sim.model import FaultInfo, FaultList

__tracebackhide__ = True


class AsyncFaults(AsyncResource):
    """The faults of a VM."""

    async def add_fault(
        self,
        type: str,  # noqa: A002 - the field's name
        *,
        when: Fields | None = None,
        enabled: bool | None = None,
        probability: float | None = None,
        after: int | None = None,
        every: int | None = None,
        times: int | None = None,
        key: str | None = None,
    ) -> FaultInfo:
        """Arm a fault; `client.list_fault_types()` describes the types, `model.AddFault` the fields.

        `key` is the call's Idempotency-Key.
        """
        return await self._arm(arguments(locals()), key)

    async def _arm(self, body: Fields, key: str | None) -> FaultInfo:
        return read(FaultInfo, await self.send("POST", "faults", body=body, key=key))

    def fault(
        self,
        type: str,  # noqa: A002 - the field's name
        *,
        when: Fields | None = None,
        enabled: bool | None = None,
        probability: float | None = None,
        after: int | None = None,
        every: int | None = None,
        times: int | None = None,
        key: str | None = None,
    ) -> "AsyncArmedFault":
        """Return a context manager that arms a fault while its block runs; as `add_fault`."""
        return AsyncArmedFault(self, partial(self._arm, arguments(locals()), key))

    def list_faults(self, *, limit: int | None = None) -> AsyncIterator[FaultInfo]:
        """List the armed faults, in order of arming; `limit` is the page size of one request."""
        return self.list_items(FaultList, "faults", params={"limit": limit})

    async def get_fault(self, fault_id: str) -> FaultInfo:
        """Return an armed fault."""
        return read(FaultInfo, await self.send("GET", "faults", fault_id))

    async def delete_fault(self, fault_id: str) -> None:
        """Disarm a fault."""
        await self.send("DELETE", "faults", fault_id)

    async def delete_faults(self) -> None:
        """Disarm all faults."""
        await self.send("DELETE", "faults")


class AsyncArmedFault:
    """A fault that is armed while a `with` block runs.

    Attributes:
        info: The fault as last read; after the block, as it was before it was disarmed.
    """

    info: FaultInfo

    def __init__(self, faults: AsyncFaults, arm: Callable[[], Awaitable[FaultInfo]]) -> None:
        self._faults = faults
        self._arm = arm

    @property
    def hits(self) -> int:
        """The number of hits when the fault was last read."""
        return self.info.hits

    async def refresh(self) -> FaultInfo:
        """Read the fault again."""
        self.info = await self._faults.get_fault(self.info.fault_id)
        return self.info

    async def __aenter__(self) -> Self:
        self.info = await self._arm()
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Read the fault a last time and disarm it, unless it is gone with its VM."""
        try:
            try:
                await self.refresh()
            finally:
                await self._faults.delete_fault(self.info.fault_id)
        except NotFoundError:
            pass
        except ClientError:
            if error is None:
                raise
