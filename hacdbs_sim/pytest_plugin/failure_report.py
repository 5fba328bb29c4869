"""The report of a failed test: the state of its VMs, and the last requests that it sent."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Final

from hacdbs_sim.client import (
    Client,
    ClientError,
    Sent,
    Service,
)
from hacdbs_sim.model import CpuInfo, FaultInfo, MemslotInfo, VmInfo, flag_names

SHOWN_VMS: Final = 8
SHOWN_SLOTS: Final = 16
SHOWN_CPUS: Final = 16
SHOWN_REQUESTS: Final = 40
TIMEOUT_SECONDS: Final = 5.0
"""A service that does not respond must not hold the test run."""


def sections_of(
    service: Service, session_id: str | None, history: Sequence[Sent]
) -> list[tuple[str, str]]:
    """Return a failure report's sections."""
    sections: list[tuple[str, str]] = []
    if session_id is not None:
        sections.append(("hacdbs-sim VMs", "\n".join(_vms(service, session_id))))
    if history:
        sections.append(("hacdbs-sim calls", "\n".join(_requests(history))))
    return sections


def _requests(history: Sequence[Sent]) -> Iterator[str]:
    shown = history[-SHOWN_REQUESTS:]
    if len(shown) < len(history):
        yield f"(the last {len(shown)})"
    yield from map(str, shown)


def _vms(service: Service, session_id: str) -> Iterator[str]:
    # A client of its own: these requests must not appear among those of the test
    with service.client(timeout=TIMEOUT_SECONDS, retries=0) as client:
        try:
            count = 0
            for vm in client.list_vms(session_id, limit=SHOWN_VMS):
                count += 1
                if count > SHOWN_VMS:
                    yield f"and more VMs than {SHOWN_VMS}"
                    break
                yield from _vm(client, vm)
            if not count:
                yield f"session {session_id} has no VMs"
        except ClientError as error:
            yield f"not available: {error}"


def _vm(client: Client, vm: VmInfo) -> Iterator[str]:
    yield (
        f"{vm.vm_id} {vm.name!r} seed={vm.seed} page_size={vm.page_size} ipa_bits={vm.ipa_bits}"
        f" vcpus={vm.vcpus} cpus={vm.cpus} dbm={vm.features.dbm} hacdbs={vm.features.hacdbs}"
        f" manual_dirty_log_protect2={vm.manual_dirty_log_protect2}"
        f" eager_split_chunk_size={vm.eager_split_chunk_size} kernel={vm.kernel}"
    )
    yield from map(_slot, vm.memslots[:SHOWN_SLOTS])
    if len(vm.memslots) > SHOWN_SLOTS:
        yield f"  and {len(vm.memslots) - SHOWN_SLOTS} more slots"
    yield from map(_fault, vm.faults)
    cpus = client.vm(vm.vm_id).list_cpus(limit=SHOWN_CPUS)
    yield from map(_cpu, islice(cpus, SHOWN_CPUS))
    counted = [f"{name}={count}" for name, count in vm.counters.items() if count]
    yield f"  counters {' '.join(counted) or 'all 0'}"


def _slot(slot: MemslotInfo) -> str:
    dirty = "not logged" if slot.dirty_count is None else f"dirty={slot.dirty_count}"
    flags = ",".join(flag_names(slot.flags))
    return (
        f"  slot {slot.slot} at {slot.guest_phys_addr:#x} npages={slot.npages}"
        f" flags={flags or '-'} backing={slot.backing} {dirty}"
    )


def _fault(fault: FaultInfo) -> str:
    when = asdict(fault.when).items()
    place = " ".join(f"{name}={value}" for name, value in when if value is not None)
    return (
        f"  fault {fault.fault_id} {fault.type} when {place or 'any'} times={fault.times}"
        f" opportunities={fault.opportunities} hits={fault.hits}"
    )


def _cpu(cpu: CpuInfo) -> str:
    return (
        f"  cpu {cpu.cpu} {'online' if cpu.online else 'offline'} unit {cpu.status}"
        f" err_reason={cpu.hacdbscons_el2.err_reason} index={cpu.hacdbscons_el2.index}"
        f" runs={cpu.runs} entries={cpu.entries} cleaned={cpu.cleaned}"
    )
