"""Sessions, and creating VMs in them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self

from hacdbs_sim.client._async.resource import AsyncResource, AsyncSender
from hacdbs_sim.client._async.vm import AsyncVm
from hacdbs_sim.client.bodies import (
    AnyFault,
    AnyFeatures,
    AnyMemslot,
    AnyWorkload,
    Size,
    listed,
    memslot_body,
    plain,
)
from hacdbs_sim.client.errors import ClientError
from hacdbs_sim.client.request import arguments
from hacdbs_sim.client.results import FetchedVm, read
from hacdbs_sim.model import DEFAULT_SESSION, ScenarioOutcome, SessionInfo, VmInfo, VmList

__tracebackhide__ = True


class AsyncVmMaker(AsyncResource):
    """A session, or a client for its default session."""

    session_id: str = DEFAULT_SESSION

    async def create_vm(
        self,
        *,
        name: str | None = None,
        page_size: Size | None = None,
        ipa_bits: int | None = None,
        vcpus: int | None = None,
        cpus: int | None = None,
        features: AnyFeatures | None = None,
        manual_dirty_log_protect2: int | None = None,
        eager_split_chunk_size: Size | None = None,
        kernel: str | None = None,
        seed: int | None = None,
        memslots: Sequence[AnyMemslot] = (),
        faults: Sequence[AnyFault] = (),
        workloads: Sequence[AnyWorkload] = (),
        costs: Mapping[str, int] | None = None,
        backend: str | None = None,
        track_versions: bool | None = None,
        key: str | None = None,
    ) -> AsyncVm:
        """Create a VM with its memslots, faults and workloads: all of them, or nothing.

        `model.CreateVm` describes the fields; what is left out has its default. Sizes are bytes or
        text such as "2GiB". `key` is the call's Idempotency-Key.
        """
        body = arguments(locals()) | {
            "session_id": self.session_id,
            "memslots": listed("memslots", memslots, memslot_body),
            "faults": listed("faults", faults, plain),
            "workloads": listed("workloads", workloads, plain),
        }
        root = AsyncResource(self._sender)
        info = read(FetchedVm, await root.send("POST", "v1", "vms", body=body, key=key))
        return AsyncVm(self._sender, info.vm_id, info)


class AsyncSession(AsyncVmMaker):
    """A session; as a context manager, deleted with all its VMs at the end."""

    def __init__(self, sender: AsyncSender, session_id: str) -> None:
        super().__init__(sender, "v1", "sessions", session_id)
        self.session_id = session_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Delete the session; after an exception in the block, a refusal of this is not raised."""
        try:
            await self.delete()
        except ClientError:
            if error is None:
                raise

    async def get(self) -> SessionInfo:
        """Return the session."""
        return read(SessionInfo, await self.send("GET"))

    async def delete(self) -> None:
        """Delete the session with its VMs."""
        await self.send("DELETE")

    async def reset(self, *, key: str | None = None) -> None:
        """Delete the session's VMs and number the next ones from 1 again."""
        await self.send("POST", "reset", key=key)

    def list_vms(self, *, limit: int | None = None) -> AsyncIterator[VmInfo]:
        """List the session's VMs; `limit` is the page size of one request."""
        root = AsyncResource(self._sender)
        params = {"session_id": self.session_id, "limit": limit}
        return root.list_items(VmList, "v1", "vms", params=params)

    async def put_scenario(self, document: Mapping[str, Any]) -> ScenarioOutcome:
        """Replace the session's content by a scenario's, unless it has that, and run its steps."""
        return read(ScenarioOutcome, await self.send("PUT", "scenario", body=document))

    async def get_scenario(self, *, wait_seconds: int | None = None) -> ScenarioOutcome:
        """Return the scenario's outcome, after waiting up to 60 s for the end of its migration."""
        params = {"wait_seconds": wait_seconds}
        return read(ScenarioOutcome, await self.send("GET", "scenario", params=params))

    async def report_scenario(self) -> str:
        """Return the scenario's report as one HTML file to keep."""
        return (await self.send("GET", "scenario", "report.html")).text

    async def delete_scenario(self) -> None:
        """Delete the scenario: the session is reset."""
        await self.send("DELETE", "scenario")
