"""Fault injection."""

from hacdbs_sim.client.answers import FaultInfo, Page
from hacdbs_sim.client.call import Call, change, get, given, listing, nothing, path, post, reading
from hacdbs_sim.client.specs import WhenSpec


def add_fault(
    vm_id: str,
    type: str,  # noqa: A002 - the field's name
    *,
    when: WhenSpec | None = None,
    enabled: bool | None = None,
    probability: float | None = None,
    after: int | None = None,
    every: int | None = None,
    times: int | None = None,
    key: str | None = None,
) -> Call[FaultInfo]:
    """Arm a fault: `client.fault_types()` tells which there are."""
    body = given(
        type=type,
        when=when,
        enabled=enabled,
        probability=probability,
        after=after,
        every=every,
        times=times,
    )
    return post("add_fault", path("v1", "vms", vm_id, "faults"), reading(FaultInfo), body, key)


def list_faults(vm_id: str, *, limit: int | None = None) -> Call[Page[FaultInfo]]:
    """List the armed faults, in order of arming; `limit` is how many one request asks for."""
    return listing(
        "list_faults", path("v1", "vms", vm_id, "faults"), FaultInfo, "faults", limit=limit
    )


def delete_faults(vm_id: str) -> Call[None]:
    """Disarm all faults."""
    return change("delete_faults", "DELETE", path("v1", "vms", vm_id, "faults"), nothing)


def get_fault(vm_id: str, fault_id: str) -> Call[FaultInfo]:
    """Show an armed fault."""
    return get("get_fault", path("v1", "vms", vm_id, "faults", fault_id), FaultInfo)


def delete_fault(vm_id: str, fault_id: str) -> Call[None]:
    """Disarm a fault."""
    return change("delete_fault", "DELETE", path("v1", "vms", vm_id, "faults", fault_id), nothing)
