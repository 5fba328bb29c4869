"""The guest: accesses to its memory, workloads, and virtual time."""

from collections.abc import AsyncIterator, Sequence

from hacdbs_sim.client._async.resource import AsyncResource
from hacdbs_sim.client.bodies import Address, AnyBurst, Size, access_body, address
from hacdbs_sim.client.pages import PageNumbers, Ranges
from hacdbs_sim.client.request import arguments, given
from hacdbs_sim.client.results import read
from hacdbs_sim.model import (
    AccessOutcome,
    Clock,
    DirtyRateInfo,
    GuestRun,
    WorkloadInfo,
    WorkloadList,
)

__tracebackhide__ = True


class AsyncGuest(AsyncResource):
    """The guest of a VM. Gfns are integers, a numpy array, or a `range`, sent as one range."""

    async def guest_write(
        self,
        gfns: PageNumbers | None = None,
        *,
        gfn_ranges: Ranges | None = None,
        vcpu: int | None = None,
        key: str | None = None,
    ) -> AccessOutcome:
        """Write pages as a vCPU: gfns, or ranges of a first gfn and a count."""
        body, params = access_body(gfns, gfn_ranges), {"vcpu": vcpu}
        response = await self.send("POST", "guest", "write", params=params, body=body, key=key)
        return read(AccessOutcome, response)

    async def guest_write_memory(
        self,
        gpa_ranges: Sequence[tuple[Address, Size]],
        *,
        vcpu: int | None = None,
        key: str | None = None,
    ) -> AccessOutcome:
        """Write ranges of memory as a vCPU, each an address and a length in bytes."""
        pairs = [(address(gpa), length) for gpa, length in gpa_ranges]
        body = given(gpa_ranges=pairs, vcpu=vcpu)
        answer = await self.send("POST", "guest", "write-memory", body=body, key=key)
        return read(AccessOutcome, answer)

    async def guest_read(
        self,
        gfns: PageNumbers | None = None,
        *,
        gfn_ranges: Ranges | None = None,
        vcpu: int | None = None,
        key: str | None = None,
    ) -> AccessOutcome:
        """Read pages as a vCPU."""
        body, params = access_body(gfns, gfn_ranges), {"vcpu": vcpu}
        response = await self.send("POST", "guest", "read", params=params, body=body, key=key)
        return read(AccessOutcome, response)

    async def hint_free(
        self,
        gfns: PageNumbers | None = None,
        *,
        gfn_ranges: Ranges | None = None,
        key: str | None = None,
    ) -> AccessOutcome:
        """Report pages as free: a migration need not send them until they are written."""
        body = access_body(gfns, gfn_ranges)
        response = await self.send("POST", "guest", "hint-free", body=body, key=key)
        return read(AccessOutcome, response)

    async def host_write(
        self,
        gfns: PageNumbers | None = None,
        *,
        gfn_ranges: Ranges | None = None,
        key: str | None = None,
    ) -> AccessOutcome:
        """Write pages as the host kernel: marks the log, leaves stage 2 alone."""
        body = access_body(gfns, gfn_ranges)
        return read(AccessOutcome, await self.send("POST", "host", "write", body=body, key=key))

    async def host_unmap(
        self,
        gfns: PageNumbers | None = None,
        *,
        gfn_ranges: Ranges | None = None,
        key: str | None = None,
    ) -> AccessOutcome:
        """Unmap pages as an MMU notifier does, whole blocks included; leaves the log alone."""
        body = access_body(gfns, gfn_ranges)
        return read(AccessOutcome, await self.send("POST", "host", "unmap", body=body, key=key))

    async def host_discard(
        self,
        gfns: PageNumbers | None = None,
        *,
        gfn_ranges: Ranges | None = None,
        key: str | None = None,
    ) -> AccessOutcome:
        """Give pages back to the host, as a balloon does: unmap them, and drop their content."""
        body = access_body(gfns, gfn_ranges)
        return read(AccessOutcome, await self.send("POST", "host", "discard", body=body, key=key))

    async def add_workload(
        self,
        kind: str,
        *,
        slot: int,
        writes_per_second: int | None = None,
        first_page: int | None = None,
        num_pages: int | None = None,
        seed: int | None = None,
        burst: AnyBurst | None = None,
        writer: str | None = None,
        vcpu: int | None = None,
        hot_fraction: float | None = None,
        hot_share: float | None = None,
        exponent: float | None = None,
        set_pages: int | None = None,
        move_every_writes: int | None = None,
        step_pages: int | None = None,
        trace: str | None = None,
        pages: Sequence[Sequence[int]] | None = None,
        interval_ns: int | None = None,
        loop: bool | None = None,
        copies: int | None = None,
        scale: bool | None = None,
        key: str | None = None,
    ) -> WorkloadInfo:
        """Add a workload, which writes whenever the guest runs.

        `kind` is one of `model.WorkloadKind`. The classes `model.AddSequential`, `AddUniform`,
        `AddHotSet`, `AddZipf`, `AddMoving`, `AddReplay` and `AddIntervals` describe the fields of
        each. `key` is the call's Idempotency-Key.
        """
        body = arguments(locals())
        response = await self.send("POST", "workloads", body=body, key=key)
        return read(WorkloadInfo, response)  # type: ignore[arg-type]  # a union

    def list_workloads(self, *, limit: int | None = None) -> AsyncIterator[WorkloadInfo]:
        """List the workloads, oldest first; `limit` is the page size of one request."""
        return self.list_items(WorkloadList, "workloads", params={"limit": limit})

    async def get_workload(self, workload_id: str) -> WorkloadInfo:
        """Return a workload, and how far it has come."""
        response = await self.send("GET", "workloads", workload_id)
        return read(WorkloadInfo, response)  # type: ignore[arg-type]  # a union

    async def delete_workload(self, workload_id: str) -> None:
        """Remove a workload."""
        await self.send("DELETE", "workloads", workload_id)

    async def delete_workloads(self) -> None:
        """Remove all workloads."""
        await self.send("DELETE", "workloads")

    async def get_clock(self) -> Clock:
        """Return the VM's virtual clock."""
        return read(Clock, await self.send("GET", "clock"))

    async def advance_clock(self, duration_ns: int, *, key: str | None = None) -> Clock:
        """Let virtual time pass while the guest is paused."""
        body = {"duration_ns": duration_ns}
        return read(Clock, await self.send("POST", "clock", "advance", body=body, key=key))

    async def run_guest(
        self, duration_ns: int, *, throttle_percent: int | None = None, key: str | None = None
    ) -> GuestRun:
        """Let the workloads write for some virtual time, throttled if a percentage is given."""
        body = arguments(locals())
        return read(GuestRun, await self.send("POST", "guest", "run", body=body, key=key))

    async def calc_dirty_rate(
        self,
        duration_ns: int,
        *,
        mode: str | None = None,
        sample_pages_per_gib: int | None = None,
        key: str | None = None,
    ) -> DirtyRateInfo:
        """Run the guest and measure how fast it dirties memory.

        Beside a migration, whose steps run the guest, the result is `measuring`: the measurement ends
        when the VM's clock has advanced by `duration_ns` (`query_dirty_rate`).

        Args:
            duration_ns: How long, in virtual time.
            mode: `page_sampling` (if None) or `dirty_bitmap`.
            sample_pages_per_gib: `page_sampling`: pages to sample of each GiB; 512 if None.
            key: The call's Idempotency-Key.
        """
        body = arguments(locals())
        return read(DirtyRateInfo, await self.send("POST", "dirty-rate", body=body, key=key))

    async def query_dirty_rate(self) -> DirtyRateInfo:
        """Return the last measurement of the dirty rate, or the one that goes on."""
        return read(DirtyRateInfo, await self.send("GET", "dirty-rate"))
