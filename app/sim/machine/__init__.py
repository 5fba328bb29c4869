"""One simulated VM: joins generic KVM to the arm64 hook and performs actions."""

from app.sim.machine.counters import COUNTERS
from app.sim.machine.heat import MAX_BINS, Heat
from app.sim.machine.vm import Machine

__all__ = ["COUNTERS", "MAX_BINS", "Heat", "Machine"]
