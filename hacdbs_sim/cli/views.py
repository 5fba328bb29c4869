"""Tables of the model's dataclasses: a column is a field, in the unit that its name implies."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Any, Final, TypeAlias

from rich.console import RenderableType
from rich.table import Table

from hacdbs_sim import model
from hacdbs_sim.cli import tables
from hacdbs_sim.cli.tables import Rows

Columns: TypeAlias = Mapping[str, str | Callable[[Any], object]]
"""Headers, each with the dotted name of a field, or a function of the row's value."""

SHOWN_RANGES: Final = 20
"""Ranges of pages that a table lists; the rest is counted."""

SHOWN_LOST: Final = 8
"""Ranges of lost pages that a line lists."""


def rows_table(
    title: str,
    headers: Iterable[str],
    rows: Iterable[Sequence[object]],
    *,
    least_columns: int | None = None,
) -> Rows:
    """Return a table; a header that begins with # is that of a column of numbers."""
    cells = tuple(tuple(text(value) for value in row) for row in rows)
    return Rows(title, tuple(headers), cells, least_columns)


def fields_table(
    title: str, columns: Columns, values: Iterable[object], *, least_columns: int | None = None
) -> Rows:
    """Return a table with a row for each value."""
    rows = ([cell(value, source) for source in columns.values()] for value in values)
    return rows_table(title, columns, rows, least_columns=least_columns)


def facts(title: str, values: Mapping[str, object]) -> Table:
    """Return a table of names and values."""
    return tables.facts(title, {name: text(value, name) for name, value in values.items()})


def cell(value: object, source: str | Callable[[Any], object]) -> str:
    """Return what a column shows of a value."""
    if isinstance(source, str):
        return text(attrgetter(source)(value), source)
    return text(source(value))


def text(value: object, name: str = "") -> str:
    """Return a value as text; the name of its field chooses the unit."""
    match value:
        case None | "":
            return "-"
        case _ if name in _FORMATS:
            return _FORMATS[name](value)
        case bool():
            return "yes" if value else "no"
        case int() if name.endswith("_ns"):
            return f"{value / 1e6:,.2f} ms"
        case int():
            return f"{value:,}"
        case _:
            return str(value)


def size(size_bytes: int) -> str:
    """Return bytes in the largest unit that they are a multiple of."""
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if not size_bytes or size_bytes % 1024:
            break
        size_bytes //= 1024
        unit = larger
    return f"{size_bytes} {unit}"


def _features(features: model.Features) -> str:
    return ", ".join(name for name, is_on in asdict(features).items() if is_on) or "none"


def _given_fields(value: Any) -> str:  # noqa: ANN401 - any dataclass
    given = ((name, each) for name, each in asdict(value).items() if each is not None)
    return " ".join(f"{name} {each}" for name, each in given) or "-"


_FORMATS: Final[dict[str, Callable[[Any], str]]] = {
    **dict.fromkeys(("page_size", "memory_size", "backing", "eager_split_chunk_size"), size),
    **dict.fromkeys(("when", "last_hit"), _given_fields),
    "base_gfn": hex,
    "features": _features,
    "flags": lambda flags: " ".join(model.flag_names(flags)) or "-",
    "seed": str,
    "sent_bytes": lambda sent_bytes: f"{sent_bytes / 2**20:,.1f} MiB",
}
"""How fields are shown whose type alone does not determine it."""


def _dirty_pages(vm: model.VmInfo) -> int | None:
    logs = [slot.dirty_count for slot in vm.memslots if slot.dirty_count is not None]
    return sum(logs) if logs else None


def _fault_counts(fault: model.FaultInfo) -> str:
    counts = [f"after {fault.after}"] if fault.after else []
    counts += [f"every {fault.every}"] if fault.every > 1 else []
    counts += [] if fault.times is None else [f"times {fault.times}"]
    counts += [f"p {fault.probability:g}"] if fault.probability < 1 else []
    counts += [] if fault.enabled else ["disabled"]
    return ", ".join(counts) or "always"


_VMS: Final[Columns] = {
    "VM": "vm_id",
    "name": "name",
    "#memory": lambda vm: size(sum(slot.memory_size for slot in vm.memslots)),
    "#slots": lambda vm: len(vm.memslots),
    "#vCPUs": "vcpus",
    "#CPUs": "cpus",
    "#dirty pages": _dirty_pages,
    "#faults": lambda vm: len(vm.faults),
}
_MEMSLOTS: Final[Columns] = {
    "#slot": "slot",
    "#base gfn": "base_gfn",
    "#pages": "npages",
    "memory": "memory_size",
    "backing": "backing",
    "flags": "flags",
    "#dirty pages": "dirty_count",
}
_FAULTS: Final[Columns] = {
    "fault": "fault_id",
    "type": "type",
    "when": "when",
    "counts": _fault_counts,
    "#opportunities": "opportunities",
    "#hits": "hits",
    "last hit": "last_hit",
}
_CPUS: Final[Columns] = {
    "#CPU": "cpu",
    "online": "online",
    "unit": "status",
    "last stop": "hacdbscons_el2.err_reason",
    "#index": "hacdbscons_el2.index",
    "#runs": "runs",
    "#entries": "entries",
    "#cleaned": "cleaned",
}
PASSES: Final[Columns] = {
    "#pass": "iteration",
    "phase": "phase",
    "#dirty": "dirty_pages",
    "#sent": "sent_pages",
    "#remaining": "remaining_pages",
    "#ms": lambda each: f"{each.duration_ns / 1e6:,.1f}",
    "#throttle %": "throttle_percent",
    "#hardware": "hardware_cleaned",
    "#software": "software_cleaned",
    "#requeued": "requeued",
}
_STAGE2: Final[Columns] = {
    "#gfn": lambda run: f"{run.gfn:#x}",
    "#pages": "count",
    "#level": "level",
    "state": "state",
    "#descriptor": lambda run: f"{run.descriptor:#x}",
}
_WORKLOADS: Final[Columns] = {
    "workload": "workload_id",
    "kind": "kind",
    "#slot": "slot",
    "#first page": "first_page",
    "#pages": "num_pages",
    "writer": lambda each: each.writer if each.writer == "host" else f"vCPU {each.vcpu}",
    "#writes/s": "writes_per_second",
    "#writes": "writes",
    "#skipped": "skipped",
}
_MIGRATIONS: Final[Columns] = {
    "migration": "migration_id",
    "VM": "vm_id",
    "status": "status",
    "reason": "reason",
    "#passes": "iteration_count",
    "#lost pages": "lost_pages",
}
_COMPARISON: Final[Columns] = {
    "variant": "name",
    "status": "status",
    "#passes": "iterations",
    "#total": "total_ns",
    "#downtime": "downtime_ns",
    "#get": "get_ns",
    "#clear": "clear_ns",
    "#stalled": "guest_stall_ns",
    "#hardware": "hardware_cleaned",
    "#software": "software_cleaned",
    "#requeued": "requeued",
    "#lost pages": "lost_pages",
}
_TOTALS: Final = {
    "passes": "iterations",
    "total": "total_ns",
    "downtime": "downtime_ns",
    "sent": "sent_bytes",
    "get": "get_ns",
    "clear": "clear_ns",
    "stalled": "guest_stall_ns",
    "throttled": "throttled_ns",
    "blocked": "blocked_ns",
    "zero pages": "zero_pages",
    "skipped": "skipped_pages",
    "hardware": "hardware_cleaned",
    "software": "software_cleaned",
    "requeued": "requeued",
    "declined": "declined",
}


def vms(infos: Iterable[model.VmInfo]) -> Rows:
    """List VMs."""
    return fields_table("", _VMS, infos)


def faults(infos: Iterable[model.FaultInfo]) -> Rows:
    """List armed faults."""
    return fields_table("faults", _FAULTS, infos)


def cpus(infos: Iterable[model.CpuInfo]) -> Rows:
    """List host CPUs and their units."""
    return fields_table("", _CPUS, infos)


def stage2(runs: Iterable[model.Stage2Run]) -> Rows:
    """Show runs of equal leaves."""
    return fields_table("", _STAGE2, runs)


def sessions(infos: Iterable[model.SessionInfo]) -> Rows:
    """List sessions."""
    return fields_table("", {"session": "session_id", "#VMs": "vm_count"}, infos)


def workloads(infos: Iterable[model.WorkloadInfo]) -> Rows:
    """List workloads."""
    return fields_table("", _WORKLOADS, infos)


def migrations(briefs: Iterable[model.MigrationBrief]) -> Rows:
    """List migrations."""
    return fields_table("", _MIGRATIONS, briefs)


def passes(report: model.MigrationReport) -> Rows:
    """Show the passes of a migration."""
    return fields_table("passes", PASSES, report.iterations)


def event(happened: model.Event) -> str:
    """Describe an event in a line."""
    place = happened.vm_id or happened.session_id
    known = ((name, value) for name, value in happened.details.items() if value is not None)
    details = (
        f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in known
    )
    now = text(happened.now_ns, "now_ns")
    return " ".join((str(happened.event_id), now, place, happened.type, *details))


def comparison(info: model.ComparisonInfo) -> Rows:
    """Show variants side by side."""
    return fields_table(f"comparison {info.comparison_id}: {info.status}", _COMPARISON, info.rows)


def vm(info: model.VmInfo) -> list[RenderableType]:
    """Show a VM."""
    settings = {"name": info.name, "backend": info.backend, **info.settings()}
    del settings["costs"]
    counters = {name: count for name, count in info.counters.items() if count}
    return [
        facts(f"VM {info.vm_id}", settings),
        fields_table("memslots", _MEMSLOTS, info.memslots),
        faults(info.faults),
        facts("counters", counters),
    ]


def dirty_log(
    log: model.DirtyLog, ranges: Sequence[tuple[int, int]] | None
) -> list[RenderableType]:
    """Show the outcome of a get, a clear or a peek, and the ranges of its pages if given."""
    values = {
        "window": f"{log.num_pages:,} pages from {log.first_page:,}",
        "dirty": log.dirty_count,
        "remaining": log.remaining_count,
        "flush_tlb": log.flush_tlb,
        "accelerator": _accelerator(log.accelerator),
        "software": _software(log.software),
    }
    shown = facts(f"slot {log.slot}", values)
    return [shown] if ranges is None else [shown, _ranges(ranges)]


def _software(report: model.SoftwareReport | None) -> str:
    if report is None:
        return "not known"
    return f"{report.pages:,} pages" if report.ran else "did not run"


def _accelerator(report: model.AcceleratorReport | None) -> str:
    if report is None:
        return "not called"
    parts = [f"{report.outcome} on CPU {report.cpu}"]
    parts += [] if report.errno is None else [report.errno]
    parts += [f"{report.cleaned:,} cleaned in {report.batches:,} runs"]
    parts += [f"{report.requeued:,} requeued"] if report.requeued else []
    if (error := report.error) is not None:
        parts += [f"{error.reason} in run {error.batch} at index {error.index}"]
    return ", ".join(parts)


def _ranges(ranges: Sequence[tuple[int, int]]) -> Rows:
    rows: list[tuple[object, ...]] = [
        (first, first + count - 1, count) for first, count in ranges[:SHOWN_RANGES]
    ]
    if rest := ranges[SHOWN_RANGES:]:
        rows.append((f"{len(rest):,} more", " ", sum(count for _, count in rest)))
    return rows_table("", ("#first page", "#last page", "#pages"), rows)


def dirty_rate(info: model.DirtyRateInfo) -> list[RenderableType]:
    """Show a measurement of the dirty rate, and what it found in the slots."""
    values: dict[str, object] = {"status": info.status, "mode": info.mode}
    if info.status is model.DirtyRateStatus.MEASURED:
        values["MiB a second"] = info.dirty_rate
        values["duration"] = cell(info, "elapsed_ns")
    if info.problem is not None:
        values["problem"] = f"{info.problem.code}: {info.problem.detail}"
    parts: list[RenderableType] = [facts("dirty rate", values)]
    if info.slots:
        columns: Columns = {
            "#slot": "slot",
            "#pages": "npages",
            "#samples": "sample_pages",
            "#dirty": "dirty_pages",
            "skipped": "skipped",
        }
        parts.append(fields_table("", columns, info.slots))
    return parts


def outcome(name: str, report: model.MigrationReport) -> Table:
    """Show how a migration ended, and why."""
    values: dict[str, object] = {"status": report.status, "reason": report.reason}
    if report.reason is not None:
        values["because"] = report.reason.because
    if report.problem is not None:
        values["problem"] = f"{report.problem.code}: {report.problem.detail}"
    if report.verification.enabled:
        values["lost pages"] = report.verification.lost_pages
        for slot in report.verification.slots:
            if slot.lost_pages:
                values[f"slot {slot.slot}"] = _lost(slot)
        if unproved := report.verification.unproved_slots:
            values["not compared"] = ", ".join(f"slot {slot}" for slot in unproved)
    return facts(f"migration {name}", values)


def happenings(report: model.MigrationReport) -> list[RenderableType]:
    """Show what a migration did beside its passes: changes, changed slots, post-copy."""
    parts: list[RenderableType] = []
    if report.changes:
        rows = [
            (each.now_ns / 1e6, each.iteration, each.by, change(each)) for each in report.changes
        ]
        headers = ("#ms", "#pass", "by", "change")
        parts.append(rows_table("changes", headers, [(f"{ms:,.2f}", *rest) for ms, *rest in rows]))
    if report.changed_slots:
        columns: Columns = {"#slot": "slot", "change": "change", "#noticed": "now_ns"}
        parts.append(fields_table("changed slots", columns, report.changed_slots))
    if report.postcopy is not None:
        parts.append(facts("post-copy", asdict(report.postcopy)))
    return parts


def change(applied: model.AppliedChange) -> str:
    """Describe a change of a running migration in a line."""
    settings = ", ".join(
        f"{name} {_setting(value)}" for name, value in applied.settings.given.items()
    )
    return ", ".join(filter(None, (applied.command, settings)))


def _setting(value: object) -> str:
    return _given_fields(value) if isinstance(value, model.AutoConverge) else str(value)


def _lost(slot: model.LostPages) -> str:
    shown = ", ".join(f"{first}+{count}" for first, count in slot.lost_ranges[:SHOWN_LOST])
    rest = max(len(slot.lost_ranges) - SHOWN_LOST, 0) + slot.ranges_omitted
    return f"{shown} and {rest:,} more ranges" if rest else shown


def totals(report: model.MigrationReport) -> Table:
    """Show the sums of a migration."""
    return facts("totals", {name: cell(report.totals, field) for name, field in _TOTALS.items()})
