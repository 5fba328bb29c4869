"""The parts of a migration's report."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hacdbs_sim import model
from hacdbs_sim.report import figures
from hacdbs_sim.report.charts import Chart, Series
from hacdbs_sim.report.parts import (
    Drawn,
    Table,
    Verdict,
    cell,
    chart_of_bytes,
    chart_of_times,
    drawn_charts,
    fields_table,
    given,
    table,
)
from hacdbs_sim.wire import to_plain

MAX_RANGES_SHOWN: Final = 64
"""Ranges of lost pages of a slot that a report lists."""


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
        chart_of_bytes(
            "Sent in each pass, and left after it",
            (
                Series("sent in the pass", [each.sent_bytes for each in rows]),
                Series("left after it", [each.remaining_pages * page_size for each in rows]),
            ),
            page_size,
            limit=(may_be_left, "bandwidth times downtime limit"),
            marks=marks,
        ),
        chart_of_times("What each pass cost", _series(rows, _COST_SERIES)),
        Chart(
            title="Who cleaned the pages",
            axis="pages (log scale)",
            series=_series(rows, _CLEANED_SERIES),
            figure=figures.count,
            floor=0.1,
        ),
    )
    return drawn_charts(charts)


_COST_SERIES: Final[Mapping[str, str]] = {
    "get_ns": "gets",
    "clear_ns": "clears",
    "guest_stall_ns": "faults kept the guest",
}
_CLEANED_SERIES: Final[Mapping[str, str]] = {
    "hardware_cleaned": "the unit",
    "software_cleaned": "software",
    "requeued": "given back by the unit",
}


def _series(rows: Sequence[model.Iteration], names: Mapping[str, str]) -> tuple[Series, ...]:
    """Return the values of fields as series with these names."""
    return tuple(
        Series(name, [getattr(each, field) for each in rows]) for field, name in names.items()
    )


def change_text(change: model.AppliedChange) -> str:
    """Describe a change of a running migration."""
    settings = [f"{name}: {cell(value, name)}" for name, value in change.settings.given.items()]
    return ", ".join(filter(None, (change.command, *settings)))


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

    def of_pass(row: model.Iteration, name: str) -> str:
        value = getattr(row, name)
        if name == "started_ns":
            value -= report.started_ns
        return figures.text(value, name)

    def sum_of(name: str) -> str:
        if name == "iteration":
            return "all"
        return figures.text(getattr(report.totals, name), name) if name in model.SUMMED else ""

    body = [tuple(of_pass(row, name) for name in shown) for row in rows]
    body.append(tuple(map(sum_of, shown)))
    return table(caption, shown.values(), body, has_sums=True)


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
    marked = [at for at, each in enumerate(proof.slots) if each.lost_pages]
    unproved = ", ".join(map(str, proof.unproved_slots))
    note = f"Slots that could not be compared: {unproved}." if unproved else ""
    caption = "Verification by page versions"
    return (table(caption, headers, rows, marked=marked, has_sums=True, note=note),)


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
                given(to_plain(each.at)),
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
