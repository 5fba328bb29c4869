"""The link between source and destination: its speed over time, and how it breaks."""

from collections import deque

from hacdbs_sim.model import LinkEvent, LinkEventType, LinkSpec
from hacdbs_sim.model.migrations import DEFAULT_BANDWIDTH, NS_PER_SECOND
from hacdbs_sim.vmm.errors import DestinationDiedError, LinkFailedError


class Link:
    """The link of one migration.

    Args:
        spec: What it is; None: 10 Gbit/s without latency.
        bandwidth: The migration's bandwidth: a speed that is not given is no less.
        started_ns: The clock when the migration began.

    Attributes:
        latency_ns: One way.
        recovers_ns: When a broken connection can be established again by itself; None: never.
    """

    def __init__(self, spec: LinkSpec | None, bandwidth: int, started_ns: int) -> None:
        spec = spec or LinkSpec()
        self.latency_ns = spec.latency_ns
        self.recovers_ns: int | None = None
        self._speed = spec.bytes_per_second or max(DEFAULT_BANDWIDTH, bandwidth)
        self._of_passes = [event for event in spec.events if event.iteration is not None]
        timed = ((started_ns + (e.at_ns or 0), e) for e in spec.events if e.at_ns is not None)
        self._due = deque(sorted(timed, key=lambda each: each[0]))
        # Speeds that end again, innermost last, each with its end; None: to the end
        self._overrides: list[tuple[int, int | None]] = []

    def begin_pass(self, number: int, now_ns: int) -> None:
        """Let the events of a pass happen now."""
        due = [(now_ns, event) for event in self._of_passes if event.iteration == number]
        self._of_passes = [event for event in self._of_passes if event.iteration != number]
        self._due.extendleft(reversed(due))

    def rate(self, now_ns: int) -> int:
        """Return the speed in bytes a second; 0 while the link is down.

        Raises:
            LinkFailedError: The connection has broken.
            DestinationDiedError: The destination has died.
        """
        while self._due and self._due[0][0] <= now_ns:
            self._happen(*self._due.popleft())
        self._overrides = [each for each in self._overrides if each[1] is None or each[1] > now_ns]
        return self._overrides[-1][0] if self._overrides else self._speed

    def _happen(self, at_ns: int, event: LinkEvent) -> None:
        end_ns = None if event.duration_ns is None else at_ns + event.duration_ns
        if event.type is LinkEventType.DESTINATION_DIES:
            raise DestinationDiedError("the destination died")
        if event.type is LinkEventType.FAILURE:
            self.recovers_ns = end_ns
            raise LinkFailedError("the connection to the destination broke")
        is_down = event.type is LinkEventType.DOWN
        self._overrides.append((0 if is_down else event.bytes_per_second or 0, end_ns))

    def next_change_ns(self) -> int | None:
        """Return when the speed changes next, or the link breaks; None: never."""
        due_ns = self._due[0][0] if self._due else None
        return earliest(due_ns, *(end_ns for _, end_ns in self._overrides))

    def next_end_ns(self, deadline_ns: int | None) -> int | None:
        """Return when the speed changes next, or a deadline if that is earlier; None: never."""
        return earliest(deadline_ns, self.next_change_ns())


def earliest(*times_ns: int | None) -> int | None:
    """Return the earliest of some times; None stands for never."""
    return min((each for each in times_ns if each is not None), default=None)


def transmission(octets: int, rate: int, carried: int) -> tuple[int, int]:
    """Return how many nanoseconds octets take at a rate, and what is left over to carry on.

    Args:
        octets: How many.
        rate: Bytes a second.
        carried: What the last transmission left over, in units of a byte by a nanosecond; negative
            where something of these octets has been carried before.
    """
    left = octets * NS_PER_SECOND + carried
    return divmod(left, rate) if left > 0 else (0, left)
