"""The parts of a comparison's report."""

from collections.abc import Callable, Mapping
from typing import Final

from hacdbs_sim import model
from hacdbs_sim.report import figures
from hacdbs_sim.report.charts import Series
from hacdbs_sim.report.parts import (
    Drawn,
    Table,
    cell,
    chart_of_bytes,
    chart_of_times,
    drawn_charts,
    table,
)
from hacdbs_sim.wire import to_plain


def comparison_charts(info: model.ComparisonInfo) -> tuple[Drawn, ...]:
    """Return the variants pass by pass: what was left, what gets and clears cost."""
    page_size = info.compared.vm.page_size

    def series(value: Callable[[model.Iteration], float]) -> tuple[Series, ...]:
        return tuple(
            Series(each.name, [value(row) for row in each.iterations]) for each in info.reports
        )

    charts = (
        chart_of_bytes(
            "Left after each pass",
            series(lambda row: row.remaining_pages * page_size),
            page_size,
            are_bars=False,
        ),
        chart_of_times(
            "What the gets and clears of each pass cost",
            series(lambda row: row.get_ns + row.clear_ns),
            are_bars=False,
        ),
    )
    return drawn_charts(charts)


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
    marked = [at for at, row in enumerate(info.rows) if row.lost_pages]
    return table("Variants", _ROW.values(), rows, marked=marked)


def differences_table(info: model.ComparisonInfo) -> Table:
    """Return what each variant has of its own, and what the VM has there."""
    vm = to_plain(info.compared.vm)
    rows = []
    for variant in info.compared.variants:
        own = to_plain(variant)
        given = [
            (variant.name, name, cell(own[name], name), cell(vm[name], name))
            for name in variant.given
        ]
        rows += given or [(variant.name, figures.NOTHING, "as the VM", figures.NOTHING)]
    return table("What differs", ("variant", "setting", "value", "the VM's"), rows)
