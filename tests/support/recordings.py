"""The traces that ship, as a machine is given them."""

from hacdbs_sim.model import Intervals, TraceName
from hacdbs_sim.traces.recording import builtin


def recordings(name: TraceName) -> Intervals:
    """Find a trace by its name."""
    recorded = builtin(name)
    return Intervals(starts=recorded.interval_start, pages=recorded.pages)
