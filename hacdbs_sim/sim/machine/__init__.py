"""One simulated VM: joins generic KVM to the arm64 hook and performs actions."""

from hacdbs_sim.model import MAX_BINS, Heat
from hacdbs_sim.sim.machine.counters import COUNTERS
from hacdbs_sim.sim.machine.vm import Machine

__all__ = ["COUNTERS", "MAX_BINS", "Heat", "Machine"]
