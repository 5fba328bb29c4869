"""Auto-converge: vCPUs are throttled where they dirty pages faster than those are sent.

As QEMU's migration_trigger_throttle(): an iteration in which more bytes were dirtied than
`trigger_threshold` percent of the bytes sent meanwhile is counted, and every second one throttles:
first by `initial` percent of the vCPUs' time, then by `increment` more, up to `max`.
"""

from typing import Final

from hacdbs_sim.model.migrations import AutoConverge

_TOO_DIRTY: Final = 2
"""How many such iterations throttle."""


class Throttle:
    """How much of their time the vCPUs do not run.

    Args:
        converge: When and how much; None: never.

    Attributes:
        percent: At present.
    """

    def __init__(self, converge: AutoConverge | None) -> None:
        self.percent = 0
        self._converge = converge
        self._too_dirty = 0

    def update(self, *, dirty_bytes: int, sent_bytes: int) -> int:
        """Count an iteration, by the bytes dirtied in it and sent meanwhile; return the percentage."""
        converge = self._converge
        if converge is None or dirty_bytes * 100 <= sent_bytes * converge.trigger_threshold:
            return self.percent
        self._too_dirty += 1
        if self._too_dirty == _TOO_DIRTY:
            self._too_dirty = 0
            further = self.percent + converge.increment if self.percent else converge.initial
            self.percent = min(further, converge.max)
        return self.percent
