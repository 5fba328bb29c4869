"""Virtual machines: making, changing and showing them; stage 2, host CPUs and batches."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from hacdbs_sim.client import answers
from hacdbs_sim.client.answers import Page
from hacdbs_sim.client.call import (
    Call,
    change,
    get,
    given,
    listing,
    nothing,
    path,
    post,
    reading,
    reading_tagged,
)
from hacdbs_sim.client.errors import problem_error
from hacdbs_sim.client.specs import (
    CpuRef,
    FaultSpec,
    FeaturesSpec,
    MemslotSpec,
    Size,
    WorkloadSpec,
    memslot_body,
)

ALL_SESSIONS = "-"
DEFAULT_SESSION = "default"


def create_vm(
    session_id: str = DEFAULT_SESSION,
    *,
    name: str | None = None,
    page_size: Size | None = None,
    ipa_bits: int | None = None,
    vcpus: int | None = None,
    cpus: int | None = None,
    features: FeaturesSpec | None = None,
    manual_dirty_log_protect2: int | None = None,
    eager_split_chunk_size: Size | None = None,
    kernel: str | None = None,
    seed: int | None = None,
    memslots: Sequence[MemslotSpec] = (),
    faults: Sequence[FaultSpec] = (),
    workloads: Sequence[WorkloadSpec] = (),
    costs: Mapping[str, int] | None = None,
    key: str | None = None,
) -> Call[answers.VmInfo]:
    """Make a VM with its slots, faults and workloads: all of it, or nothing."""
    body = given(
        session_id=session_id,
        name=name,
        page_size=page_size,
        ipa_bits=ipa_bits,
        vcpus=vcpus,
        cpus=cpus,
        features=features,
        manual_dirty_log_protect2=manual_dirty_log_protect2,
        eager_split_chunk_size=eager_split_chunk_size,
        kernel=kernel,
        seed=seed,
        memslots=[memslot_body(memslot) for memslot in memslots],
        faults=list(faults),
        workloads=list(workloads),
        costs=costs,
    )
    return post("create_vm", "/v1/vms", reading_tagged(answers.VmInfo), body, key)


def list_vms(
    session_id: str = DEFAULT_SESSION, *, limit: int | None = None
) -> Call[Page[answers.VmInfo]]:
    """List the VMs of a session, `-` for all sessions; `limit` is how many one request asks for."""
    return listing("list_vms", "/v1/vms", answers.VmInfo, "vms", session_id=session_id, limit=limit)


def get_vm(vm_id: str) -> Call[answers.VmInfo]:
    """Show the VM."""
    return Call("get_vm", "GET", path("v1", "vms", vm_id), reading_tagged(answers.VmInfo))


def update_vm(
    vm_id: str,
    *,
    manual_dirty_log_protect2: int | None = None,
    eager_split_chunk_size: Size | None = None,
    if_match: str | None = None,
) -> Call[answers.VmInfo]:
    """Set a capability (KVM_ENABLE_CAP), one at a time."""
    body = given(
        manual_dirty_log_protect2=manual_dirty_log_protect2,
        eager_split_chunk_size=eager_split_chunk_size,
    )
    decode = reading_tagged(answers.VmInfo)
    return change("update_vm", "PATCH", path("v1", "vms", vm_id), decode, body, if_match=if_match)


def delete_vm(vm_id: str, *, if_match: str | None = None) -> Call[None]:
    """Delete the VM."""
    return change("delete_vm", "DELETE", path("v1", "vms", vm_id), nothing, if_match=if_match)


def get_stage2(
    vm_id: str, gfn: int = 0, count: int | None = None, *, limit: int | None = 1000
) -> Call[Page[answers.Stage2Run]]:
    """Show guest frames, to the end of the IPA space without a count, as runs of equal pages."""
    return listing(
        "get_stage2",
        path("v1", "vms", vm_id, "stage2"),
        answers.Stage2Run,
        "runs",
        gfn=gfn,
        count=count,
        limit=limit,
    )


def list_cpus(vm_id: str, *, limit: int | None = None) -> Call[Page[answers.CpuInfo]]:
    """List the host CPUs, by number; `limit` is how many one request asks for."""
    return listing(
        "list_cpus", path("v1", "vms", vm_id, "cpus"), answers.CpuInfo, "cpus", limit=limit
    )


def get_cpu(ref: CpuRef) -> Call[answers.CpuInfo]:
    """Show the CPU and its unit."""
    return get("get_cpu", path("v1", "vms", ref.vm_id, "cpus", ref.cpu), answers.CpuInfo)


def set_cpu(ref: CpuRef, *, online: bool) -> Call[answers.CpuInfo]:
    """Plug the CPU in or out."""
    where = path("v1", "vms", ref.vm_id, "cpus", ref.cpu)
    return change("set_cpu", "PATCH", where, reading(answers.CpuInfo), {"online": online})


def unplug(ref: CpuRef) -> Call[answers.CpuInfo]:
    """Plug the CPU out: its unit declines every call."""
    return set_cpu(ref, online=False)


def plug(ref: CpuRef) -> Call[answers.CpuInfo]:
    """Plug the CPU in."""
    return set_cpu(ref, online=True)


def run_batch(
    vm_id: str,
    actions: Sequence[Mapping[str, Any]],
    *,
    check: bool = True,
    key: str | None = None,
) -> Call[list[answers.BatchResult]]:
    """Perform actions in order, under one lock, up to the first refusal; earlier ones stay done.

    Each action is what its own call takes, with `op` naming the operation; arrays may be numpy's.
    A refusal is raised, with the results before it in `earlier`; without `check` it is the last
    result.
    """
    where = path("v1", "vms", vm_id, "batch")

    def decode(answer: httpx.Response) -> list[answers.BatchResult]:
        results = answers.BatchResults.model_validate_json(answer.content).results
        if check and results and results[-1].is_refusal:
            last = results[-1]
            action = f"POST {where}, action {len(results) - 1}"
            refusal = problem_error(action, last.status, last.body or {})
            refusal.earlier = tuple(results[:-1])
            raise refusal
        return results

    body = {"actions": [dict(action) for action in actions]}
    return post("run_batch", where, decode, body, key)
