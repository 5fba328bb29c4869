"""The guest's time, in steps that write no more than one run may."""

from typing import Final

from hacdbs_sim import model
from hacdbs_sim.model.errors import TooManyWritesError
from hacdbs_sim.model.kinds import MAX_NS
from hacdbs_sim.model.migrations import NS_PER_SECOND

WRITES_PER_STEP: Final = 1 << 21
"""The guest runs for about so many writes at a time: some tens of milliseconds of real time."""


def step_ns(backend: model.Backend) -> int:
    """Return how long the guest may run in one step."""
    rate = sum(
        each.writes_per_second
        for each in backend.query(model.ListWorkloads())
        if isinstance(each, model.TimedFields)
    )
    return MAX_NS if not rate else WRITES_PER_STEP * NS_PER_SECOND // rate + 1


def run_guest(
    backend: model.Backend, duration_ns: int, throttle_percent: int = 0
) -> tuple[model.GuestRun, int]:
    """Let the guest run, for less than requested where it would write too much at once.

    Returns:
        What it did, and for how long it ran.
    """
    while True:
        try:
            run = backend.perform(
                model.RunGuest(duration_ns=duration_ns, throttle_percent=throttle_percent)
            )
        except TooManyWritesError:
            if duration_ns == 1:
                raise
            duration_ns //= 2
        else:
            return run, duration_ns
