"""Auto-converge: vCPUs are throttled where they dirty pages faster than those are sent.

As QEMU's migration_trigger_throttle(), called by a sync at least a second after the last look: a look
at which more bytes were dirtied than `trigger_threshold` percent of the bytes sent since the last one is
counted, and every second one throttles: first by `initial` percent of the vCPUs' time, then by
`increment` more, up to `max`. The count starts again only when it throttles.
"""

from typing import Final

from hacdbs_sim.model import AutoConverge

_TOO_DIRTY: Final = 2
"""How many such looks throttle."""


class Throttle:
    """How much of their time the vCPUs do not run.

    Args:
        converge: When and how much; None: never.

    Attributes:
        percent: At present.
    """

    def __init__(self, converge: AutoConverge | None) -> None:
        self.percent = 0
        self.converge = converge
        self._too_dirty = 0

    def look(self, *, dirty_bytes: int, sent_bytes: int) -> None:
        """Look at the bytes dirtied and the bytes sent since the last look."""
        converge = self.converge
        if converge is None or converge.after_iterations is not None:
            return
        threshold_bytes = sent_bytes * converge.trigger_threshold // 100
        if dirty_bytes <= threshold_bytes:
            return
        self._too_dirty += 1
        if self._too_dirty < _TOO_DIRTY:
            return
        self._too_dirty = 0
        increment = converge.increment
        if converge.tailslow and self.percent:
            # What is left to the guest, less what would dirty just as much as the threshold
            now = 100 - self.percent
            increment = min(increment, now - now * threshold_bytes // dirty_bytes)
        self._throttle(converge, increment)

    def begin_pass(self, number: int) -> None:
        """Throttle by the number of passes, if that is the rule."""
        converge = self.converge
        after = None if converge is None else converge.after_iterations
        if converge is not None and after is not None and number > after:
            self._throttle(converge, converge.increment)

    def _throttle(self, converge: AutoConverge, increment: int) -> None:
        further = self.percent + increment if self.percent else converge.initial
        self.percent = min(further, converge.max)
