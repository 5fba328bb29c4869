"""Runs side by side: one row of figures for each."""

from dataclasses import fields
from typing import Final

from hacdbs_sim import model
from hacdbs_sim.vmm.report import Report

_FROM_TOTALS: Final = {each.name for each in fields(model.Totals)} & {
    each.name for each in fields(model.ComparisonRow)
}


def row_of(name: str, report: Report) -> model.ComparisonRow:
    """Return the row of one run."""
    totals = report.totals
    return model.ComparisonRow(
        name=name,
        status=report.status,
        reason=report.reason,
        lost_pages=report.verification.lost_pages,
        **{field: getattr(totals, field) for field in _FROM_TOTALS},
    )
