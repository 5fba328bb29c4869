"""What a virtual machine monitor does with the dirty log: live migration, in virtual time, and copies.

Pure, as the core is: numpy and the standard library. A migration is a state machine over a `Backend`,
driven from outside step by step, so the same machine and spec always result in the same report
(docs/migrations.md).
"""

from hacdbs_sim.vmm.comparison import row_of
from hacdbs_sim.vmm.copies import Copy
from hacdbs_sim.vmm.history import TransferHistory
from hacdbs_sim.vmm.migration import LiveMigration, check_running
from hacdbs_sim.vmm.public import public_report
from hacdbs_sim.vmm.report import Report

__all__ = [
    "Copy",
    "LiveMigration",
    "Report",
    "TransferHistory",
    "check_running",
    "public_report",
    "row_of",
]
