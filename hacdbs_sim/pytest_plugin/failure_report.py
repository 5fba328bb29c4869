"""The report of a failed test: its migrations, the state of its VMs, and its last requests."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from typing import Final

from hacdbs_sim import model
from hacdbs_sim.client import Client, ClientError, Sent, Service
from hacdbs_sim.pytest_plugin.reporting_client import reporting_client

SHOWN_VMS: Final = 8
SHOWN_SLOTS: Final = 16
SHOWN_CPUS: Final = 16
SHOWN_MIGRATIONS: Final = 8
SHOWN_REQUESTS: Final = 40


def sections_of(
    service: Service, session_id: str | None, history: Sequence[Sent]
) -> list[tuple[str, str]]:
    """Return a failure report's sections."""
    sections: list[tuple[str, str]] = []
    if session_id is not None:
        migrations, vms = _lines(service, session_id)
        if migrations:
            sections.append(("hacdbs-sim migrations", "\n".join(migrations)))
        sections.append(("hacdbs-sim VMs", "\n".join(vms)))
    if history:
        shown = list(map(str, history[-SHOWN_REQUESTS:]))
        if len(shown) < len(history):
            shown.insert(0, f"(the last {len(shown)})")
        sections.append(("hacdbs-sim calls", "\n".join(shown)))
    return sections


def _lines(service: Service, session_id: str) -> tuple[list[str], list[str]]:
    """Return the lines of migrations and VMs, and among these why there are no more of them."""
    migrations: list[str] = []
    vms: list[str] = []
    with reporting_client(service) as client:
        try:
            vms.extend(_vms(client, session_id))
            migrations.extend(_migrations(client, session_id))
        except ClientError as error:
            vms.append(f"not available: {error}")
    return migrations, vms


def _migrations(client: Client, session_id: str) -> Iterator[str]:
    briefs = list(client.list_migrations(session_id))
    for brief in briefs[-SHOWN_MIGRATIONS:]:
        yield from _migration(client.migration(brief.migration_id).get())
    if len(briefs) > SHOWN_MIGRATIONS:
        yield f"and {len(briefs) - SHOWN_MIGRATIONS} earlier migrations"


def _migration(report: model.MigrationInfo) -> Iterator[str]:
    found = report.verification
    lost = f"{found.lost_pages} lost pages" if found.enabled else "lost pages not looked for"
    passes = f"{len(report.iterations)} passes"
    outcome = f"{report.status}, reason {report.reason or '-'}, {passes}, {lost}"
    yield f"{report.migration_id} of {report.vm_id}: {outcome}"
    if report.problem is not None:
        yield f"  problem {report.problem.code}: {report.problem.detail}"
    for slot in found.slots:
        if slot.lost_pages:
            yield f"  slot {slot.slot} lost {slot.lost_pages}: {slot.listed()}"


def _vms(client: Client, session_id: str) -> Iterator[str]:
    vms = client.list_vms(session_id, limit=SHOWN_VMS)
    shown = list(islice(vms, SHOWN_VMS))
    for vm in shown:
        yield from _vm(client, vm)
    if next(vms, None) is not None:
        yield f"and more VMs than {SHOWN_VMS}"
    if not shown:
        yield f"session {session_id} has no VMs"


def _vm(client: Client, vm: model.VmInfo) -> Iterator[str]:
    machine = _named(vm, "seed", "page_size", "ipa_bits", "vcpus", "cpus")
    features = _named(vm.features, "dbm", "hacdbs")
    caps = _named(vm, "manual_dirty_log_protect2", "eager_split_chunk_size", "kernel")
    yield f"{vm.vm_id} {vm.name!r} {machine} {features} {caps}"
    for slot in vm.memslots[:SHOWN_SLOTS]:
        flags = ",".join(model.flag_names(slot.flags)) or "-"
        dirty = "not logged" if slot.dirty_count is None else f"dirty={slot.dirty_count}"
        place = f"slot {slot.slot} at {slot.guest_phys_addr:#x} npages={slot.npages}"
        yield f"  {place} flags={flags} backing={slot.backing} {dirty}"
    if len(vm.memslots) > SHOWN_SLOTS:
        yield f"  and {len(vm.memslots) - SHOWN_SLOTS} more slots"
    for fault in vm.faults:
        when = asdict(fault.when).items()
        place = " ".join(f"{name}={value}" for name, value in when if value is not None)
        counts = _named(fault, "times", "opportunities", "hits")
        yield f"  fault {fault.fault_id} {fault.type} when {place or 'any'} {counts}"
    used = (cpu for cpu in client.vm(vm.vm_id).list_cpus() if cpu.runs or not cpu.online)
    for cpu in islice(used, SHOWN_CPUS):
        state = f"{'online' if cpu.online else 'offline'} unit {cpu.status}"
        stop = _named(cpu.hacdbscons_el2, "err_reason", "index")
        yield f"  cpu {cpu.cpu} {state} {stop} {_named(cpu, 'runs', 'entries', 'cleaned')}"
    counted = [f"{name}={count}" for name, count in vm.counters.items() if count]
    yield f"  counters {' '.join(counted) or 'all 0'}"


def _named(value: object, *names: str) -> str:
    return " ".join(f"{name}={getattr(value, name)}" for name in names)
