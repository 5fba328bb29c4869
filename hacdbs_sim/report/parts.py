"""The parts of a page, made of the model's reports: verdicts, facts, tables and charts."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final, TypeAlias

from markupsafe import Markup

from hacdbs_sim import model
from hacdbs_sim.report import figures
from hacdbs_sim.report.charts import Chart, Series, draw, key
from hacdbs_sim.wire import action_to_plain, to_plain

Rows: TypeAlias = tuple[tuple[str, ...], ...]

MAX_RANGES_SHOWN: Final = 64
"""Ranges of lost pages of a slot that a report lists."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How something ended: `good`, `bad` or `open`, in words, and why."""

    kind: str
    words: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column."""

    name: str
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table; rows whose number is in `marked` stand out, and the last one has sums if it has."""

    caption: str
    columns: tuple[Column, ...]
    rows: Rows
    marked: frozenset[int] = frozenset()
    has_sums: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart as SVG, its key, and what its marks mean."""

    title: str
    svg: Markup
    keys: tuple[tuple[Markup, str], ...]
    limit: str = ""
    has_marks: bool = False


def table(caption: str, headers: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """Return a table; a header that begins with # is that of a column of numbers."""
    columns = tuple(Column(each.removeprefix("#"), each.startswith("#")) for each in headers)
    return Table(caption, columns, tuple(map(tuple, rows)))


# Migrations


def verdict_of(report: model.MigrationReport) -> Verdict:
    """Return how a migration ended, and what is proved of its pages."""
    proof = report.verification
    did = "switched over" if report.status is model.MigrationStatus.COMPLETED else "ended"
    why = "" if report.reason is None else f"It {did} because {report.reason.because}."
    if report.problem is not None:
        why += f" {report.problem.code}: {report.problem.detail}."
    if not report.is_over:
        return Verdict("open", f"Not ended: {report.status}", "This is its state at that moment.")
    if report.status is not model.MigrationStatus.COMPLETED:
        return Verdict("bad", str(report.status).capitalize(), why)
    if proof.lost_pages:
        pages = "1 page is" if proof.lost_pages == 1 else f"{proof.lost_pages:,} pages are"
        return Verdict("bad", f"Completed, and {pages} lost", why)
    if not proof.enabled:
        return Verdict("open", "Completed; the pages were not verified", why)
    if not proof.verified:
        return Verdict("open", "Completed; not all slots could be compared", why)
    return Verdict("good", "Completed; every page arrived", why)


def facts_of(report: model.MigrationReport, seed: int) -> tuple[tuple[str, str], ...]:
    """Return the figures that come first."""
    totals, spec = report.totals, report.spec
    lost = f"{report.verification.lost_pages:,}" if report.verification.enabled else "not verified"
    limit = figures.nanoseconds(spec.downtime_limit_ns)
    return (
        ("Lost pages", lost),
        ("Downtime", f"{figures.nanoseconds(totals.downtime_ns)} (limit {limit})"),
        ("Total time", figures.nanoseconds(totals.total_ns)),
        ("Passes", figures.count(totals.iterations)),
        ("Sent", figures.octets(totals.sent_bytes)),
        ("Cleaned by the unit", f"{totals.hardware_cleaned:,} pages"),
        ("Cleaned by software", f"{totals.software_cleaned:,} pages"),
        ("Seed", str(seed)),
    )


def charts_of(report: model.MigrationReport, page_size: int) -> tuple[Drawn, ...]:
    """Return the charts of a migration."""
    rows, spec = report.iterations, report.spec
    if not rows:
        return ()
    marks: dict[int, str] = {}
    for change in report.changes:
        earlier = f"{marks[change.iteration]}; " if change.iteration in marks else ""
        marks[change.iteration] = earlier + change_text(change)
    bandwidth = spec.switchover_bandwidth_bytes_per_second or spec.bandwidth_bytes_per_second
    may_be_left = bandwidth * spec.downtime_limit_ns / model.NS_PER_SECOND
    charts = (
        Chart(
            title="Sent in each pass, and left after it",
            axis="bytes (log scale)",
            series=(
                Series("sent in the pass", [each.sent_bytes for each in rows]),
                Series("left after it", [each.remaining_pages * page_size for each in rows]),
            ),
            figure=figures.octets,
            base=4,
            floor=page_size / 4,
            limit=(may_be_left, "bandwidth times downtime limit"),
            marks=marks,
        ),
        Chart(
            title="What each pass cost",
            axis="virtual time (log scale)",
            series=(
                Series("gets", [each.get_ns for each in rows]),
                Series("clears", [each.clear_ns for each in rows]),
                Series("faults kept the guest", [each.guest_stall_ns for each in rows]),
            ),
            figure=figures.nanoseconds,
            floor=_floor(rows, "get_ns", "clear_ns", "guest_stall_ns"),
        ),
        Chart(
            title="Who cleaned the pages",
            axis="pages (log scale)",
            series=(
                Series("the unit", [each.hardware_cleaned for each in rows]),
                Series("software", [each.software_cleaned for each in rows]),
                Series("given back by the unit", [each.requeued for each in rows]),
            ),
            figure=figures.count,
            floor=0.1,
        ),
    )
    return tuple(drawn(each) for each in charts if not each.is_empty)


def drawn(chart: Chart) -> Drawn:
    """Draw a chart."""
    keys = tuple(
        (key(index), each.name) for index, each in enumerate(chart.series) if not each.is_empty
    )
    limit = f"{chart.limit[1]}: {chart.figure(chart.limit[0])}" if chart.limit else ""
    return Drawn(chart.title, draw(chart), keys, limit, bool(chart.marks))


def _floor(rows: Iterable[model.Iteration], *names: str) -> float:
    """Return a tenth of the power of ten below the least value."""
    values = [value for each in rows for name in names if (value := getattr(each, name))]
    return 10.0 ** (math.floor(math.log10(min(values))) - 1) if values else 1.0


def change_text(change: model.AppliedChange) -> str:
    """Describe a change of a running migration."""
    given = [
        f"{name}: {figures.text(to_plain(value) if isinstance(value, model.Model) else value, name)}"
        for name, value in change.settings.given.items()
    ]
    return ", ".join(filter(None, (change.command, *given)))


_PASS: Final[Mapping[str, str]] = {
    "iteration": "#pass",
    "phase": "phase",
    "started_ns": "#began",
    "duration_ns": "#duration",
    "dirty_pages": "#dirty pages",
    "dirty_pages_per_second": "#dirty rate",
    "sent_pages": "#sent pages",
    "sent_bytes": "#sent",
    "remaining_pages": "#left pages",
    "throttle_percent": "#throttle",
    "zero_pages": "#zero pages",
    "skipped_pages": "#skipped pages",
    "requested_pages": "#requested pages",
}
_COSTS: Final[Mapping[str, str]] = {
    "iteration": "#pass",
    "get_ns": "#gets",
    "clear_ns": "#clears",
    "clears": "#calls",
    "guest_ns": "#guest ran",
    "guest_stall_ns": "#stalled",
    "throttled_ns": "#throttled",
    "blocked_ns": "#blocked",
    "guest_writes": "#writes",
    "permission_faults": "#permission faults",
    "translation_faults": "#translation faults",
    "hardware_cleaned": "#by unit",
    "software_cleaned": "#by software",
    "requeued": "#given back",
    "declined": "#declined",
    "partial": "#partial",
    "blocks_split": "#blocks split",
}
_ALWAYS: Final = frozenset(
    {
        "iteration",
        "phase",
        "started_ns",
        "duration_ns",
        "dirty_pages",
        "sent_pages",
        "remaining_pages",
    }
)
"""Columns that are shown even if all their values are 0."""


def pass_tables(report: model.MigrationReport) -> tuple[Table, ...]:
    """Return the passes: what they sent, and what they cost."""
    if not report.iterations:
        return ()
    sent = _passes(report, "Passes", _PASS)
    costs = _passes(report, "What the passes took", _COSTS)
    return (sent, costs)


def _passes(report: model.MigrationReport, caption: str, names: Mapping[str, str]) -> Table:
    rows = report.iterations
    shown = {
        name: header
        for name, header in names.items()
        if name in _ALWAYS or any(getattr(each, name) for each in rows)
    }

    def cell(row: model.Iteration, name: str) -> str:
        value = getattr(row, name)
        if name == "started_ns":
            value -= report.started_ns
        return figures.text(value, name)

    def sum_of(name: str) -> str:
        if name == "iteration":
            return "all"
        return figures.text(getattr(report.totals, name), name) if name in model.SUMMED else ""

    body = [tuple(cell(row, name) for name in shown) for row in rows]
    body.append(tuple(map(sum_of, shown)))
    made = table(caption, shown.values(), body)
    return Table(caption, made.columns, made.rows, has_sums=True)


def proof_tables(report: model.MigrationReport) -> tuple[Table, ...]:
    """Return what the page versions prove, by slot."""
    proof = report.verification
    if not proof.enabled:
        return ()
    headers = ("#slot", "#current", "#pending", "#unneeded", "#lost", "lost pages of the slot")
    rows = [
        (
            str(each.slot),
            *map(figures.count, _counts(each)),
            _listed(each) if each.lost_pages else figures.NOTHING,
        )
        for each in proof.slots
    ]
    rows.append(("all", *map(figures.count, _counts(proof)), ""))
    made = table("Verification by page versions", headers, rows)
    marked = frozenset(at for at, each in enumerate(proof.slots) if each.lost_pages)
    unproved = ", ".join(map(str, proof.unproved_slots))
    note = f"Slots that could not be compared: {unproved}." if unproved else ""
    return (Table(made.caption, made.columns, made.rows, marked, has_sums=True, note=note),)


def _counts(of: model.LostPages | model.Verification) -> tuple[int, int, int, int]:
    return of.current_pages, of.pending_pages, of.unneeded_pages, of.lost_pages


def _listed(of: model.LostPages) -> str:
    ranges = [
        str(first) if count == 1 else f"{first}..{first + count - 1}"
        for first, count in of.lost_ranges[:MAX_RANGES_SHOWN]
    ]
    omitted = of.ranges_omitted + len(of.lost_ranges) - len(ranges)
    return ", ".join(ranges) + (f" and {omitted:,} ranges more" if omitted else "")


def story_tables(report: model.MigrationReport) -> tuple[Table, ...]:
    """Return what happened beside the passes."""
    began = report.started_ns
    found: list[Table] = []
    rows: Iterable[Iterable[str]]
    if report.changes:
        rows = [
            (
                figures.nanoseconds(each.now_ns - began),
                str(each.iteration),
                each.by,
                change_text(each),
            )
            for each in report.changes
        ]
        found.append(table("Changes while it ran", ("#at", "#pass", "by", "change"), rows))
    if report.scheduled:
        rows = [
            (
                str(each.index),
                _given(to_plain(each.at)),
                each.op,
                "yes" if each.reached else "never reached",
                "" if each.problem is None else f"{each.problem.code}: {each.problem.detail}",
            )
            for each in report.scheduled
        ]
        headers = ("#item", "when", "what", "performed", "refused")
        found.append(table("Schedule", headers, rows))
    if report.changed_slots:
        rows = [
            (str(each.slot), each.change, figures.nanoseconds(each.now_ns - began))
            for each in report.changed_slots
        ]
        found.append(table("Migrated slots that changed", ("#slot", "change", "#noticed"), rows))
    if report.postcopy is not None:
        found.append(fields_table("Post-copy", to_plain(report.postcopy)))
    return tuple(found)


def fields_table(caption: str, values: Mapping[str, object]) -> Table:
    """Return a table of names and values."""
    return table(
        caption,
        ("field", "value"),
        [(name, figures.text(value, name)) for name, value in values.items()],
    )


def _given(plain: Mapping[str, Any]) -> str:
    return figures.text({name: value for name, value in plain.items() if value not in (None, [])})


# Settings


def spec_table(spec: model.MigrationSpec) -> Table:
    """Return the settings of a migration; those that are not the defaults are marked."""
    return _settings("Migration", spec, skipped={"schedule"})


def schedule_table(spec: model.MigrationSpec) -> tuple[Table, ...]:
    """Return the schedule of a migration as it was given."""
    if not spec.schedule:
        return ()
    rows: list[tuple[str, str, str]] = []
    for index, each in enumerate(spec.schedule):
        what = {} if each.action is None else action_to_plain(each.action)
        what |= {} if each.set is None else to_plain(each.set)
        rows.append((str(index), _given(to_plain(each.point)), _given(what)))
    return (table("Schedule as given", ("#item", "when", "what"), rows),)


def vm_tables(vm: model.VmSpec) -> tuple[Table, ...]:
    """Return the settings of a VM, and its parts."""
    made = [_settings("VM", vm, skipped={"memslots", "faults", "workloads", "costs"})]
    defaults = to_plain(model.CostModel())
    costs = {name: each for name, each in to_plain(vm.costs).items() if each != defaults[name]}
    if costs:
        made.append(fields_table("Costs that are not the defaults, in picoseconds", costs))
    if vm.memslots:
        headers = ("#slot", "guest address", "#size", "flags", "backing")
        rows = [
            [
                figures.text(getattr(each, name), name)
                for name in ("slot", "guest_phys_addr", "memory_size", "flags", "backing")
            ]
            for each in vm.memslots
        ]
        made.append(table("Memslots", headers, rows))
    if vm.workloads:
        made.append(_tagged("Workloads", "kind", vm.workloads))
    if vm.faults:
        made.append(_tagged("Faults", "type", vm.faults))
    return tuple(made)


def _tagged(caption: str, tag: str, items: Sequence[model.Model]) -> Table:
    rows: list[tuple[str, str]] = []
    for each in items:
        plain = to_plain(each)
        name = str(plain.pop(tag))
        rows.append((name, _given(plain)))
    return table(caption, (tag, "settings"), rows)


def _settings(caption: str, value: model.Model, skipped: set[str]) -> Table:
    plain = to_plain(value)
    rows: list[tuple[str, str, str]] = []
    marked: set[int] = set()
    for each in fields(value):  # type: ignore[arg-type]  # each class of the model is a dataclass
        if each.name in skipped:
            continue
        default = each.default if each.default_factory is MISSING else each.default_factory()
        own = getattr(value, each.name)
        if own != default:
            marked.add(len(rows))
        rows.append(
            (each.name, _value(plain[each.name], own, each.name), _default(default, each.name))
        )
    made = table(caption, ("setting", "value", "default"), rows)
    return Table(made.caption, made.columns, made.rows, frozenset(marked))


def _value(plain: object, own: object, name: str) -> str:
    if isinstance(plain, dict):
        return _given(plain)
    return figures.text(own if isinstance(own, int) else plain, name)


def _default(value: object, name: str) -> str:
    if isinstance(value, model.Model):
        return _given(to_plain(value))
    return figures.NOTHING if value is MISSING else figures.text(value, name)


# Comparisons


def comparison_charts(info: model.ComparisonInfo) -> tuple[Drawn, ...]:
    """Return the variants pass by pass: what was left, what gets and clears cost."""
    page_size = info.compared.vm.page_size

    def series(value: Callable[[model.Iteration], float]) -> tuple[Series, ...]:
        return tuple(
            Series(each.name, [value(row) for row in each.iterations]) for each in info.reports
        )

    costs = series(lambda row: row.get_ns + row.clear_ns)
    values = [value for each in costs for value in each.values if value]
    charts = (
        Chart(
            title="Left after each pass",
            axis="bytes (log scale)",
            series=series(lambda row: row.remaining_pages * page_size),
            figure=figures.octets,
            base=4,
            floor=page_size / 4,
            are_bars=False,
        ),
        Chart(
            title="What the gets and clears of each pass cost",
            axis="virtual time (log scale)",
            series=costs,
            figure=figures.nanoseconds,
            floor=10.0 ** math.floor(math.log10(min(values))) if values else 1.0,
            are_bars=False,
        ),
    )
    return tuple(drawn(each) for each in charts if not each.is_empty)


_ROW: Final[Mapping[str, str]] = {
    "name": "variant",
    "status": "status",
    "reason": "reason",
    "iterations": "#passes",
    "total_ns": "#total",
    "downtime_ns": "#downtime",
    "sent_bytes": "#sent",
    "get_ns": "#gets",
    "clear_ns": "#clears",
    "guest_stall_ns": "#guest stalled",
    "hardware_cleaned": "#by unit",
    "software_cleaned": "#by software",
    "requeued": "#given back",
    "lost_pages": "#lost",
}


def comparison_table(info: model.ComparisonInfo) -> Table:
    """Return the variants side by side."""
    rows = [[figures.text(getattr(row, name), name) for name in _ROW] for row in info.rows]
    made = table("Variants", _ROW.values(), rows)
    marked = frozenset(at for at, row in enumerate(info.rows) if row.lost_pages)
    return Table(made.caption, made.columns, made.rows, marked)


def differences_table(info: model.ComparisonInfo) -> Table:
    """Return what each variant has of its own, and what the VM has there."""
    vm = to_plain(info.compared.vm)
    rows = []
    for variant in info.compared.variants:
        own = to_plain(variant)
        given = [
            (variant.name, name, _part(own[name], name), _part(vm[name], name))
            for name in variant.given
        ]
        rows += given or [(variant.name, figures.NOTHING, "as the VM", figures.NOTHING)]
    return table("What differs", ("variant", "setting", "value", "the VM's"), rows)


def _part(value: object, name: str) -> str:
    return _given(value) if isinstance(value, dict) else figures.text(value, name)
