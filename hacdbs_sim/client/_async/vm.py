"""Virtual machines, and copies of their memory."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from hacdbs_sim import model
from hacdbs_sim.client._async.faults import AsyncFaults
from hacdbs_sim.client._async.guest import AsyncGuest
from hacdbs_sim.client._async.memory import AsyncSlot
from hacdbs_sim.client._async.migrations import AsyncMigration
from hacdbs_sim.client._async.resource import AsyncResource, AsyncSender
from hacdbs_sim.client.bodies import (
    Address,
    Fields,
    LogWords,
    Size,
    action_body,
    listed,
    memslot_body,
    plain,
    window_body,
)
from hacdbs_sim.client.pages import PageNumbers
from hacdbs_sim.client.request import arguments, given
from hacdbs_sim.client.results import (
    FetchedMemslot,
    FetchedMemslotChange,
    FetchedVm,
    read,
    read_batch,
)

__tracebackhide__ = True


class AsyncCopy(AsyncResource):
    """A copy of a VM's memory: what a destination, a snapshot file or a backup has.

    Attributes:
        vm_id: The VM whose memory it is.
        copy_id: The copy's id.
        info: The response that made it; None if this is a handle of an id.
    """

    def __init__(
        self, sender: AsyncSender, vm_id: str, copy_id: str, info: model.CopyInfo | None = None
    ) -> None:
        super().__init__(sender, "v1", "vms", vm_id, "copies", copy_id)
        self.vm_id = vm_id
        self.copy_id = copy_id
        self.info = info

    async def get(self) -> model.CopyInfo:
        """Return the copy."""
        return read(model.CopyInfo, await self.send("GET"))

    async def delete(self) -> None:
        """Delete the copy; the copies that began with it stay."""
        await self.send("DELETE")

    async def receive(
        self,
        slot: int,
        words: LogWords | None = None,
        *,
        pages: PageNumbers | None = None,
        first_page: int = 0,
        num_pages: int | None = None,
        duration_ns: int = 0,
        key: str | None = None,
    ) -> model.ReceivedPages:
        """Read pages of the VM into the copy, as they are now.

        Args:
            slot: The memslot.
            words: A log, or a window of one; or the ioctl's words, or one boolean per page, where
                bit 0 is `first_page`.
            pages: Instead of words, pages counted from the slot's start.
            first_page: Where the window begins; a multiple of 64.
            num_pages: The window's length; to the slot's end if None.
            duration_ns: How long the guest runs while the pages are read.
            key: The call's Idempotency-Key.
        """
        body = window_body(slot, words, pages, first_page, num_pages)
        body["duration_ns"] = duration_ns
        return read(model.ReceivedPages, await self.send("POST", "receive", body=body, key=key))

    async def verify(
        self, *, pending: Mapping[int, LogWords] | None = None, key: str | None = None
    ) -> model.Verification:
        """Compare the copy with the VM: each page is current, pending, unneeded or lost.

        Args:
            pending: Pages that you still have to send, by memslot; those in a log are known anyway.
            key: The call's Idempotency-Key.
        """
        body = {"pending": [window_body(slot, words) for slot, words in (pending or {}).items()]}
        return read(model.Verification, await self.send("POST", "verify", body=body, key=key))

    async def start(
        self, *, session_id: str | None = None, name: str | None = None, key: str | None = None
    ) -> "AsyncVm":
        """Create a VM that has what the copy has; none of its memslots logs.

        Args:
            session_id: Its session; the source's if None.
            name: Its name; the source's if None.
            key: The call's Idempotency-Key.
        """
        body = given(session_id=session_id, name=name)
        info = read(FetchedVm, await self.send("POST", "start", body=body, key=key))
        return AsyncVm(self._sender, info.vm_id, info)


class AsyncVm(AsyncGuest, AsyncFaults):
    """A VM.

    Attributes:
        vm_id: The VM's id.
        info: The response that made it, with its ETag; None if this is a handle of an id.
    """

    def __init__(self, sender: AsyncSender, vm_id: str, info: FetchedVm | None = None) -> None:
        super().__init__(sender, "v1", "vms", vm_id)
        self.vm_id = vm_id
        self.info = info

    def slot(self, number: int) -> AsyncSlot:
        """Return the handle of a memslot, which need not exist."""
        return AsyncSlot(self._sender, self.vm_id, number)

    async def get(self) -> FetchedVm:
        """Return the VM."""
        return read(FetchedVm, await self.send("GET"))

    async def update(
        self,
        *,
        manual_dirty_log_protect2: int | None = None,
        eager_split_chunk_size: Size | None = None,
        if_match: str | None = None,
    ) -> FetchedVm:
        """Set a capability (KVM_ENABLE_CAP), one at a time."""
        body = arguments(locals())
        return read(FetchedVm, await self.send("PATCH", body=body, headers={"If-Match": if_match}))

    async def track_versions(self, *, enabled: bool = True, key: str | None = None) -> FetchedVm:
        """Track page versions from now on, or no longer."""
        body = {"enabled": enabled}
        return read(FetchedVm, await self.send("POST", "track-versions", body=body, key=key))

    async def delete(self, *, if_match: str | None = None) -> None:
        """Delete the VM."""
        await self.send("DELETE", headers={"If-Match": if_match})

    async def set_memslot(
        self,
        slot: int,
        *,
        guest_phys_addr: Address,
        memory_size: Size,
        userspace_addr: Address | None = None,
        flags: int | Sequence[str] = (),
        backing: Size | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> FetchedMemslotChange:
        """Create, move or re-flag a memslot (KVM_SET_USER_MEMORY_REGION).

        `flags` are bits of `MemslotFlags`, or their names. To delete it, `delete_memslot` is safer:
        it may be retried after a lost response.
        """
        body = memslot_body(arguments(locals()))
        del body["slot"]  # which the path has
        headers = {"If-Match": if_match, "If-None-Match": if_none_match}
        response = await self.send("PUT", "memslots", slot, body=body, headers=headers)
        return read(FetchedMemslotChange, response)

    def list_memslots(self, *, limit: int | None = None) -> AsyncIterator[model.MemslotInfo]:
        """List the memslots, by number; `limit` is the page size of one request."""
        return self.list_items(model.MemslotList, "memslots", params={"limit": limit})

    async def get_memslot(self, slot: int) -> FetchedMemslot:
        """Return a memslot."""
        return read(FetchedMemslot, await self.send("GET", "memslots", slot))

    async def delete_memslot(self, slot: int, *, if_match: str | None = None) -> None:
        """Delete a memslot."""
        await self.send("DELETE", "memslots", slot, headers={"If-Match": if_match})

    def get_stage2(
        self, gfn: int = 0, count: int | None = None, *, limit: int | None = 1000
    ) -> AsyncIterator[model.Stage2Run]:
        """List guest frames as runs of equal pages; by default to the end of the IPA space."""
        params = {"gfn": gfn, "count": count, "limit": limit}
        return self.list_items(model.Stage2List, "stage2", params=params)

    def list_cpus(self, *, limit: int | None = None) -> AsyncIterator[model.CpuInfo]:
        """List the host CPUs, by number; `limit` is the page size of one request."""
        return self.list_items(model.CpuList, "cpus", params={"limit": limit})

    async def get_cpu(self, cpu: int) -> model.CpuInfo:
        """Return a host CPU and its unit."""
        return read(model.CpuInfo, await self.send("GET", "cpus", cpu))

    async def set_cpu(self, cpu: int, *, online: bool) -> model.CpuInfo:
        """Plug a host CPU in or out; the unit of one that is out declines every call."""
        return read(model.CpuInfo, await self.send("PATCH", "cpus", cpu, body={"online": online}))

    async def run_batch(
        self,
        actions: Sequence[model.Action[Any] | model.BatchAction | Fields],
        *,
        check: bool = True,
        key: str | None = None,
    ) -> tuple[model.BatchResult, ...]:
        """Perform actions in order, under one lock, up to the first refusal; earlier ones are kept.

        Args:
            actions: Actions of the model; or what each action's own call takes, with `op` naming
                the operation, where arrays may be numpy's.
            check: Raise a refusal, with the results before it in `earlier`; else it is the last
                result.
            key: The call's Idempotency-Key.
        """
        body = {"actions": listed("actions", actions, action_body)}
        return read_batch(await self.send("POST", "batch", body=body, key=key), check=check)

    async def create_copy(
        self, base: AsyncCopy | str | None = None, *, key: str | None = None
    ) -> AsyncCopy:
        """Begin a copy of the VM's memory, which you receive pages for and verify.

        Args:
            base: What it has from the start. None: nothing, but zeros for pages that were never
                written; `source`: the VM as it is, without what the logs name; or another copy.
            key: The call's Idempotency-Key.
        """
        body = given(base=base.copy_id if isinstance(base, AsyncCopy) else base)
        info = read(model.CopyInfo, await self.send("POST", "copies", body=body, key=key))
        return AsyncCopy(self._sender, self.vm_id, info.copy_id, info)

    async def copy(self, base: AsyncCopy | str | None = None) -> AsyncCopy:
        """Begin a copy of the VM's memory; short for `create_copy`."""
        return await self.create_copy(base)

    def kept_copy(self, copy_id: str) -> AsyncCopy:
        """Return the handle of a copy of the VM's memory."""
        return AsyncCopy(self._sender, self.vm_id, copy_id)

    def list_copies(self, *, limit: int | None = None) -> AsyncIterator[model.CopyInfo]:
        """List the copies, by number; `limit` is the page size of one request."""
        return self.list_items(model.CopyList, "copies", params={"limit": limit})

    async def start_migration(
        self,
        *,
        preset: str | None = None,
        bandwidth_bytes_per_second: int | None = None,
        downtime_limit_ns: int | None = None,
        max_iterations: int | None = None,
        timeout_ns: int | None = None,
        timeout_strategy: str | None = None,
        auto_converge: model.AutoConverge | Fields | None = None,
        slots: Sequence[int] | None = None,
        enable_logging: bool | None = None,
        clear_chunk_pages: int | None = None,
        clear_order: str | None = None,
        verify: bool | None = None,
        full_first_pass: bool | None = None,
        schedule: Sequence[model.Scheduled | Fields] | None = None,
        link: model.LinkSpec | Fields | None = None,
        switchover_bandwidth_bytes_per_second: int | None = None,
        stall_ns: int | None = None,
        pause_before_switchover: bool | None = None,
        postcopy: model.PostcopySpec | Fields | None = None,
        zero_pages: bool | None = None,
        on_layout_change: str | None = None,
        device_state_bytes: int | None = None,
        device_state_ns: int | None = None,
        stop_latency_ns: int | None = None,
        timing: str | None = None,
        destination: model.Destination | Fields | None = None,
        pace_ms: int | None = None,
        pace: float | None = None,
        key: str | None = None,
    ) -> AsyncMigration:
        """Start to migrate the VM, in virtual time; docs/migrations.md explains the fields."""
        body = arguments(locals()) | given(
            vm_id=self.vm_id,
            slots=None if slots is None else list(slots),
            schedule=None if schedule is None else listed("schedule", schedule, plain),
        )
        root = AsyncResource(self._sender)
        info = read(
            model.MigrationInfo, await root.send("POST", "v1", "migrations", body=body, key=key)
        )
        return AsyncMigration(self._sender, info.migration_id, info)
