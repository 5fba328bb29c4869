"""The row of a run has the figures of its report."""

from hacdbs_sim.vmm import row_of
from tests.unit.vmm.source import migrated, source


def test_a_row_has_the_totals_and_what_was_lost() -> None:
    report = migrated(source())

    row = row_of("one", report)

    assert (row.name, row.status, row.reason) == ("one", report.status, report.reason)
    assert row.iterations == len(report.iterations)
    assert row.sent_bytes == report.totals.sent_bytes
    assert row.downtime_ns == report.downtime_ns
    assert row.lost_pages == report.verification.lost_pages
