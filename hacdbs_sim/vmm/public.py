"""The public report of a migration, while it runs and afterwards."""

from hacdbs_sim import model
from hacdbs_sim.vmm.qmp import query_migrate
from hacdbs_sim.vmm.report import Report


def public_report(report: Report) -> model.MigrationReport:
    """Return the public report of a migration at one moment."""
    return model.MigrationReport(
        status=report.status,
        reason=report.reason,
        problem=report.refused,
        spec=report.spec,
        started_ns=report.started_ns,
        now_ns=report.now_ns,
        qmp=query_migrate(report),
        iterations=report.iterations,
        scheduled=report.scheduled,
        changes=report.changes,
        changed_slots=report.changed_slots,
        postcopy=report.postcopy,
        verification=report.verification,
        totals=report.totals,
    )
