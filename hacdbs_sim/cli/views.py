"""Answers as tables for people."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from hacdbs_sim.client.answers import (
    Access,
    CpuInfo,
    FaultInfo,
    MemslotInfo,
    VmInfo,
)
from hacdbs_sim.client.cleaning import Accelerator, CleaningReport, Software
from hacdbs_sim.client.reports import ComparisonInfo, LostPages, Report

KIB_STEPS = ("KiB", "MiB", "GiB", "TiB")
SHOWN_RANGES = 20
"""How many ranges of pages are told before the rest is only counted."""

SHOWN_LOST = 8
"""The same of pages lost, in a line."""


def table(title: str, *columns: str) -> Table:
    """Make an empty table; a column whose name begins with # is of numbers."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        made.add_column(name.removeprefix("#"), justify="right" if name.startswith("#") else "left")
    return made


def filled(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Make a table of rows."""
    made = table(title, *columns)
    for row in rows:
        made.add_row(*(Text(_told(cell)) for cell in row))
    return made


def facts(title: str, **values: object) -> Table:
    """Make a table of names and values."""
    made = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    for name, value in values.items():
        made.add_row(Text(name, style="dim"), Text(_told(value)))
    return made


def _told(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def size(size_bytes: int) -> str:
    """Tell bytes in the largest unit that they are a multiple of."""
    unit = "B"
    for step in KIB_STEPS:
        if not size_bytes or size_bytes % 1024:
            break
        size_bytes //= 1024
        unit = step
    return f"{size_bytes} {unit}"


def vms(found: Sequence[VmInfo]) -> Table:
    """List VMs."""
    columns = ("VM", "name", "#memory", "#slots", "#vCPUs", "#CPUs", "#dirty pages", "#faults")
    return filled("", columns, (_vm_row(vm) for vm in found))


def _vm_row(vm: VmInfo) -> tuple[object, ...]:
    memory = sum(slot.memory_size for slot in vm.memslots)
    logs = [slot.dirty_count for slot in vm.memslots if slot.dirty_count is not None]
    dirty = sum(logs) if logs else None
    counts = (len(vm.memslots), vm.vcpus, vm.cpus, dirty, len(vm.faults))
    return (vm.vm_id, vm.name or "-", size(memory), *counts)


def vm(info: VmInfo) -> list[Table]:
    """Show a VM."""
    settings = facts(
        f"VM {info.vm_id}",
        name=info.name or "-",
        backend=info.backend,
        page_size=size(info.page_size),
        ipa_bits=info.ipa_bits,
        vcpus=info.vcpus,
        cpus=info.cpus,
        features=", ".join(name for name, given in info.features.model_dump().items() if given)
        or "none",
        manual_dirty_log_protect2=info.manual_dirty_log_protect2,
        eager_split_chunk_size=size(info.eager_split_chunk_size),
        kernel=info.kernel,
        seed=str(info.seed),
    )
    counted = {name: count for name, count in info.counters.items() if count}
    return [settings, memslots(info.memslots), faults(info.faults), facts("counters", **counted)]


def memslots(found: Sequence[MemslotInfo]) -> Table:
    """List memslots."""
    columns = ("#slot", "#base gfn", "#pages", "memory", "backing", "flags", "#dirty pages")
    rows = (
        (
            slot.slot,
            hex(slot.base_gfn),
            slot.npages,
            size(slot.memory_size),
            size(slot.backing),
            " ".join(slot.flags) or "-",
            slot.dirty_count,
        )
        for slot in found
    )
    return filled("memslots", columns, rows)


def faults(found: Sequence[FaultInfo]) -> Table:
    """List armed faults."""
    columns = ("fault", "type", "when", "counts", "#opportunities", "#hits", "last hit")
    return filled("faults", columns, (_fault_row(fault) for fault in found))


def _fault_row(fault: FaultInfo) -> tuple[object, ...]:
    counts = [f"after {fault.after}"] if fault.after else []
    counts += [f"every {fault.every}"] if fault.every > 1 else []
    counts += [] if fault.times is None else [f"times {fault.times}"]
    counts += [f"p {fault.probability:g}"] if fault.probability < 1 else []
    counts += [] if fault.enabled else ["disabled"]
    return (
        fault.fault_id,
        fault.type,
        _pairs(fault.when.model_dump()),
        ", ".join(counts) or "always",
        fault.opportunities,
        fault.hits,
        "-" if fault.last_hit is None else _pairs(fault.last_hit.model_dump()),
    )


def _pairs(values: dict[str, Any]) -> str:
    given = {name: value for name, value in values.items() if value is not None}
    return " ".join(f"{name} {value}" for name, value in given.items()) or "-"


def cpus(found: Sequence[CpuInfo]) -> Table:
    """List host CPUs and their units."""
    columns = ("#CPU", "online", "unit", "last stop", "#index", "#runs", "#entries", "#cleaned")
    rows = (
        (
            cpu.cpu,
            cpu.online,
            cpu.status,
            cpu.hacdbscons_el2.err_reason,
            cpu.hacdbscons_el2.index,
            cpu.runs,
            cpu.entries,
            cpu.cleaned,
        )
        for cpu in found
    )
    return filled("", columns, rows)


def access(outcome: Access) -> Table:
    """Show what a batch of accesses did."""
    return facts("", **outcome.model_dump())


def dirty_log(report: CleaningReport, ranges: Sequence[tuple[int, int]] | None) -> list[Table]:
    """Show a dirty log that was taken, cleared or looked at."""
    parts = [
        facts(
            f"slot {report.slot}",
            window=f"{report.num_pages:,} pages from {report.first_page:,}",
            dirty=report.dirty_count,
            remaining=report.remaining_count,
            flush_tlb=report.flush_tlb,
            accelerator=_accelerator(report.accelerator),
            software=_software(report.software),
        )
    ]
    if ranges is not None:
        parts.append(_ranges(ranges))
    return parts


def _software(software: Software | None) -> str:
    if software is None:
        return "not known"
    return f"{software.pages:,} pages" if software.ran else "did not run"


def _accelerator(accelerator: Accelerator | None) -> str:
    if accelerator is None:
        return "not called"
    told = [f"{accelerator.outcome} on CPU {accelerator.cpu}"]
    told += [] if accelerator.errno is None else [accelerator.errno]
    told += [f"{accelerator.cleaned:,} cleaned in {accelerator.batches:,} runs"]
    told += [f"{accelerator.requeued:,} requeued"] if accelerator.requeued else []
    if accelerator.error is not None:
        error = accelerator.error
        told += [f"{error.reason} in run {error.batch} at index {error.index}"]
    return ", ".join(told)


def _ranges(ranges: Sequence[tuple[int, int]]) -> Table:
    rows: list[tuple[object, ...]] = [
        (first, first + count - 1, count) for first, count in ranges[:SHOWN_RANGES]
    ]
    if rest := ranges[SHOWN_RANGES:]:
        rows.append((f"{len(rest):,} more", "", sum(count for _, count in rest)))
    return filled("", ("#first page", "#last page", "#pages"), rows)


def outcome(name: str, report: Report) -> Table:
    """Show how a migration ended."""
    told: dict[str, object] = {"status": report.status, "reason": report.reason}
    if report.problem is not None:
        told["problem"] = f"{report.problem.code}: {report.problem.detail}"
    if report.verification.enabled:
        told["lost pages"] = report.verification.lost_pages
        for slot in report.verification.slots:
            if slot.lost_pages:
                told[f"slot {slot.slot}"] = _lost(slot)
    return facts(f"migration {name}", **told)


def _lost(slot: LostPages) -> str:
    shown = ", ".join(f"{first}+{count}" for first, count in slot.lost_ranges[:SHOWN_LOST])
    rest = max(len(slot.lost_ranges) - SHOWN_LOST, 0) + slot.ranges_omitted
    return f"{shown} and {rest:,} more ranges" if rest else shown


def totals(report: Report) -> Table:
    """Show the sums of a migration."""
    sums = report.totals
    return facts(
        "totals",
        passes=sums.iterations,
        total=_milliseconds(sums.total_ns),
        downtime=_milliseconds(sums.downtime_ns),
        sent=f"{sums.sent_bytes / 2**20:,.1f} MiB",
        get=_milliseconds(sums.get_ns),
        clear=_milliseconds(sums.clear_ns),
        stalled=_milliseconds(sums.guest_stall_ns),
        throttled=_milliseconds(sums.throttled_ns),
        hardware=sums.hardware_cleaned,
        software=sums.software_cleaned,
        requeued=sums.requeued,
        declined=sums.declined,
    )


def comparison(info: ComparisonInfo) -> Table:
    """Show variants side by side."""
    columns = (
        *("variant", "status", "#passes", "#total", "#downtime", "#get", "#clear", "#stalled"),
        *("#hardware", "#software", "#requeued", "#lost pages"),
    )
    rows = (
        (
            row.name,
            row.status,
            row.iterations,
            *map(_milliseconds, (row.total_ns, row.downtime_ns, row.get_ns, row.clear_ns)),
            _milliseconds(row.guest_stall_ns),
            row.hardware_cleaned,
            row.software_cleaned,
            row.requeued,
            row.lost_pages,
        )
        for row in info.rows
    )
    return filled(f"comparison {info.comparison_id}: {info.status}", columns, rows)


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:,.2f} ms"
