"""Reports to keep: one self-contained HTML file of a migration, a comparison, a scenario or tests."""

from hacdbs_sim.report.pages import (
    POLICY,
    TestRun,
    comparison_html,
    migration_html,
    scenario_html,
    suite_html,
)
from hacdbs_sim.report.repeat import MAX_BODY_BYTES

__all__ = [
    "MAX_BODY_BYTES",
    "POLICY",
    "TestRun",
    "comparison_html",
    "migration_html",
    "scenario_html",
    "suite_html",
]
