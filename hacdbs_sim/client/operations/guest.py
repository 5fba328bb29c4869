"""Workloads and virtual time: what the guest writes by itself, and how long it runs."""

from collections.abc import Sequence
from typing import Any

from hacdbs_sim.client.answers import Clock, CostModel, GuestRun, Page, WorkloadInfo
from hacdbs_sim.client.call import Call, change, get, given, listing, nothing, path, post, reading
from hacdbs_sim.client.specs import BurstSpec


def get_cost_model() -> Call[CostModel]:
    """Describe the knobs that turn counted events into virtual time."""
    return get("get_cost_model", "/v1/cost-model", CostModel)


def add_workload(
    vm_id: str,
    kind: str,
    *,
    slot: int,
    writes_per_second: int | None = None,
    first_page: int | None = None,
    num_pages: int | None = None,
    seed: int | None = None,
    burst: BurstSpec | None = None,
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
) -> Call[WorkloadInfo]:
    """Give the guest something to write whenever it runs.

    Args:
        vm_id: The VM.
        kind: `sequential`, `uniform`, `hot_set`, `zipf`, `moving`, `replay` or `intervals`.
        slot: The memslot that it writes in.
        writes_per_second: How often; of all kinds but `replay` and `intervals`.
        first_page: Start of its window, in pages of the slot.
        num_pages: Length of its window; to the slot's end if absent.
        seed: Of its draws; made of the VM's seed if absent.
        burst: When it rests; never if absent.
        writer: `guest`, or `host` for writes of the host kernel.
        vcpu: Which vCPU writes.
        hot_fraction: `hot_set`: which part of the window is hot.
        hot_share: `hot_set`: which part of the writes goes there.
        exponent: `zipf`: rank k is written in proportion to k**-exponent.
        set_pages: `moving`: pages of the working set.
        move_every_writes: `moving`: writes after which it moves.
        step_pages: `moving`: how far.
        trace: `replay`: which trace, as `xz`.
        pages: `intervals`: the pages that each interval writes.
        interval_ns: `replay`, `intervals`: how long an interval lasts.
        loop: Whether it begins anew at its end.
        copies: How many play side by side.
        scale: Whether each is stretched over its part of the window.
        key: The call's Idempotency-Key.
    """
    body: dict[str, Any] = given(
        kind=kind,
        slot=slot,
        writes_per_second=writes_per_second,
        first_page=first_page,
        num_pages=num_pages,
        seed=seed,
        burst=burst,
        writer=writer,
        vcpu=vcpu,
        hot_fraction=hot_fraction,
        hot_share=hot_share,
        exponent=exponent,
        set_pages=set_pages,
        move_every_writes=move_every_writes,
        step_pages=step_pages,
        trace=trace,
        pages=pages,
        interval_ns=interval_ns,
        loop=loop,
        copies=copies,
        scale=scale,
    )
    where = path("v1", "vms", vm_id, "workloads")
    return post("add_workload", where, reading(WorkloadInfo), body, key)


def list_workloads(vm_id: str, *, limit: int | None = None) -> Call[Page[WorkloadInfo]]:
    """List the workloads, oldest first; `limit` is how many one request asks for."""
    where = path("v1", "vms", vm_id, "workloads")
    return listing("list_workloads", where, WorkloadInfo, "workloads", limit=limit)


def delete_workloads(vm_id: str) -> Call[None]:
    """Take all workloads off."""
    return change("delete_workloads", "DELETE", path("v1", "vms", vm_id, "workloads"), nothing)


def get_workload(vm_id: str, workload_id: str) -> Call[WorkloadInfo]:
    """Show a workload, and how far it has come."""
    where = path("v1", "vms", vm_id, "workloads", workload_id)
    return get("get_workload", where, WorkloadInfo)


def delete_workload(vm_id: str, workload_id: str) -> Call[None]:
    """Take a workload off."""
    where = path("v1", "vms", vm_id, "workloads", workload_id)
    return change("delete_workload", "DELETE", where, nothing)


def get_clock(vm_id: str) -> Call[Clock]:
    """Show the VM's virtual clock."""
    return get("get_clock", path("v1", "vms", vm_id, "clock"), Clock)


def advance_clock(vm_id: str, duration_ns: int, *, key: str | None = None) -> Call[Clock]:
    """Let virtual time pass while the guest is paused."""
    where = path("v1", "vms", vm_id, "clock", "advance")
    return post("advance_clock", where, reading(Clock), given(duration_ns=duration_ns), key)


def run_guest(
    vm_id: str, duration_ns: int, *, throttle_percent: int | None = None, key: str | None = None
) -> Call[GuestRun]:
    """Let the workloads write for some virtual time, throttled if that is given."""
    body = given(duration_ns=duration_ns, throttle_percent=throttle_percent)
    return post("run_guest", path("v1", "vms", vm_id, "guest", "run"), reading(GuestRun), body, key)
