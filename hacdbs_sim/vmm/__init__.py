"""What a virtual machine monitor does with the dirty log: a pre-copy migration, in virtual time.

Pure, as the core is: numpy and the standard library. A migration is a state machine over
`Machine.perform`, driven from outside step by step, so the same machine and the same spec always give
the same report. docs/migrations.md tells the model.
"""

from hacdbs_sim.vmm.comparison import ComparisonRow, row_of
from hacdbs_sim.vmm.precopy import Precopy
from hacdbs_sim.vmm.report import MigrationStatus, Report
from hacdbs_sim.vmm.spec import (
    AutoConverge,
    ClearOrder,
    MigrationSpec,
    Scheduled,
    TimeoutStrategy,
)

__all__ = [
    "AutoConverge",
    "ClearOrder",
    "ComparisonRow",
    "MigrationSpec",
    "MigrationStatus",
    "Precopy",
    "Report",
    "Scheduled",
    "TimeoutStrategy",
    "row_of",
]
