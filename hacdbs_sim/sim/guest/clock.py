"""Virtual time: a machine's clock moves by actions only.

The guest runs only in RunGuest. What it is throttled by and what its faults cost it is time in which
the clock moves and the guest does not, so while it runs

    run time = guest_ns + stalled_ns + throttled_ns

Faults are counted in picoseconds and shared by the vCPUs: a fault that costs one of four vCPUs 2 us
costs the guest 0.5 us. What a slice of a run costs is owed, and paid from the next one on.
"""

from dataclasses import dataclass
from typing import Final

from hacdbs_sim.model import PS_PER_NS, Clock

MAX_NOW_NS: Final = (1 << 53) - 1
"""Where a clock ends: some 104 days, the last number that JSON carries exactly."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What became of a slice of a run."""

    guest_ns: int
    stalled_ns: int
    throttled_ns: int


class GuestClock:
    """The clock of a machine with `vcpus` vCPUs."""

    def __init__(self, vcpus: int) -> None:
        self._ps_per_ns = PS_PER_NS * vcpus
        self._debt_ps = 0
        self._awake_percent = 0  # hundredths of a nanosecond left over from throttled slices
        self.now_ns = 0
        self.guest_ns = 0
        self._stalled_ns = 0
        self._throttled_ns = 0

    @property
    def run_ns(self) -> int:
        """How long the guest has been let run, in all: the host's time beside it."""
        return self.guest_ns + self._stalled_ns + self._throttled_ns

    def view(self) -> Clock:
        """Return the state of the clock."""
        return Clock(
            now_ns=self.now_ns,
            guest_ns=self.guest_ns,
            stalled_ns=self._stalled_ns,
            throttled_ns=self._throttled_ns,
            debt_ns=self._debt_ps // self._ps_per_ns,
        )

    def advance(self, duration_ns: int) -> None:
        """Let time pass while the guest is paused."""
        self.now_ns += duration_ns

    def awake_ns(self, duration_ns: int, throttle_percent: int) -> int:
        """Return for how long of a run the guest may run."""
        return (self._awake_percent + duration_ns * (100 - throttle_percent)) // 100

    def run(self, duration_ns: int, throttle_percent: int) -> Slice:
        """Let the guest run for a slice, less what throttling and its debt take."""
        awake_percent = self._awake_percent + duration_ns * (100 - throttle_percent)
        awake_ns, self._awake_percent = divmod(awake_percent, 100)
        stalled_ns = min(awake_ns, self._debt_ps // self._ps_per_ns)
        done = Slice(awake_ns - stalled_ns, stalled_ns, duration_ns - awake_ns)
        self._debt_ps -= stalled_ns * self._ps_per_ns
        self.now_ns += duration_ns
        self.guest_ns += done.guest_ns
        self._stalled_ns += done.stalled_ns
        self._throttled_ns += done.throttled_ns
        return done

    def owe(self, cost_ps: int) -> None:
        """Charge what faults cost one vCPU."""
        self._debt_ps += cost_ps
