"""What a virtual machine monitor does with the dirty log: a pre-copy migration, in virtual time.

Pure, as the core is: numpy and the standard library. A migration is a state machine over
`Machine.perform`, driven from outside step by step, so the same machine and the same spec always give
the same report. docs/migrations.md tells the model.
"""

from app.vmm.comparison import ComparisonRow, row_of
from app.vmm.precopy import Precopy
from app.vmm.report import MigrationStatus, Report
from app.vmm.spec import (
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
