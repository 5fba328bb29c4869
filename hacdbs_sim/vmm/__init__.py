"""What a virtual machine monitor does with the dirty log: live migration, copies, the dirty rate.

Pure, as the core is: numpy and the standard library. A migration is a state machine over a `Backend`,
driven from outside step by step in virtual time, so the same machine and spec always result in the
same report (docs/migrations.md).
"""

from hacdbs_sim.vmm.comparison import row_of
from hacdbs_sim.vmm.control import check_running
from hacdbs_sim.vmm.copies import Copy
from hacdbs_sim.vmm.dirty_rate import DirtyRate
from hacdbs_sim.vmm.errors import refused_of
from hacdbs_sim.vmm.history import TransferHistory
from hacdbs_sim.vmm.migration import LiveMigration
from hacdbs_sim.vmm.public import public_report
from hacdbs_sim.vmm.report import Report
from hacdbs_sim.vmm.tracking import DirtyTracking

__all__ = [
    "Copy",
    "DirtyRate",
    "DirtyTracking",
    "LiveMigration",
    "Report",
    "TransferHistory",
    "check_running",
    "public_report",
    "refused_of",
    "row_of",
]
