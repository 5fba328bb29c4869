"""The guest's time, in steps of bounded work."""

from typing import Final

from hacdbs_sim import model

WORK_PER_STEP: Final = 1 << 23
"""The guest runs for about so much work at a time: some tens of milliseconds of real time."""


def run_guest(
    backend: model.Backend, duration_ns: int, throttle_percent: int = 0
) -> tuple[model.GuestRun, int]:
    """Let the guest run, for less than requested where it would write too much at once.

    Returns:
        What it did, and for how long it ran.
    """
    while True:
        action = model.RunGuest(duration_ns=duration_ns, throttle_percent=throttle_percent)
        work = backend.estimate(action).work
        if work <= WORK_PER_STEP or duration_ns == 1:
            return backend.perform(action), duration_ns
        duration_ns = max(duration_ns * WORK_PER_STEP // work, 1)
