"""A workload: who writes how often, in which pages of which slot, and how far it has come.

Its writes are a fixed sequence. By its own time t (ns since it was added, in which its writer ran),
with a burst of on_ns and off_ns,

    t_on   = t                                    without a burst
           = floor(t / (on + off)) * on + min(t mod (on + off), on)    with one
    writes = floor(t_on * writes_per_second / 10**9)

of them have been made; a trace has its own times (`trace.py`). So two runs of 10 ms make the writes
of one of 20 ms, and the same seed makes the same writes.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Self

from hacdbs_sim.model.errors import InvalidWorkloadError, check_within
from hacdbs_sim.sim.guest.patterns import PagesOf, Pattern, Uniform
from hacdbs_sim.sim.guest.trace import Trace

NS_PER_SECOND: Final = 10**9
MAX_WRITES_PER_SECOND: Final = 10**9
MAX_NS: Final = 10**15
"""The longest time in a spec or an action: some 11 days."""


class Writer(StrEnum):
    """Who writes: a vCPU, or the host kernel (kvm_write_guest, as a virtual device does)."""

    GUEST = "guest"
    HOST = "host"


@dataclass(frozen=True, slots=True)
class Burst:
    """Writes for `on_ns`, then rests for `off_ns`, and so on."""

    on_ns: int
    off_ns: int

    def time_on(self, time_ns: int) -> int:
        """Give the nanoseconds of the first `time_ns` in which it writes."""
        periods, within = divmod(time_ns, self.on_ns + self.off_ns)
        return periods * self.on_ns + min(within, self.on_ns)


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """A workload to add.

    Attributes:
        slot: The memslot that it writes in.
        pattern: Which pages, in which order.
        writes_per_second: How often, while its writer runs; None for a trace, which has its own times.
        first_page: Start of its window, in pages from the slot's start.
        num_pages: Length of its window; None reaches to the slot's end.
        seed: Of its draws; None takes one of the machine's seed and the workload's number.
        burst: None writes all the time.
        writer: The guest, whose time is slowed by faults and throttling; or the host, whose is not.
        vcpu: Which vCPU writes.
    """

    slot: int
    pattern: Pattern = field(default_factory=Uniform)
    writes_per_second: int | None = None
    first_page: int = 0
    num_pages: int | None = None
    seed: int | None = None
    burst: Burst | None = None
    writer: Writer = Writer.GUEST
    vcpu: int = 0

    @property
    def state_bytes(self) -> int:
        """Value of what it takes on a machine: a trace, as given and as laid out."""
        return self.pattern.state_bytes if isinstance(self.pattern, Trace) else 0

    def resolved(self, *, npages: int, seed: int) -> Self:
        """Fill in what was left open, for a slot of `npages`, and refuse what makes no sense.

        Raises:
            InvalidWorkloadError: names the field, its bound and its value.
        """
        check_within(InvalidWorkloadError, "first_page", self.first_page, 0, npages - 1)
        num_pages = npages - self.first_page if self.num_pages is None else self.num_pages
        check_within(InvalidWorkloadError, "num_pages", num_pages, 1, npages - self.first_page)
        if isinstance(self.pattern, Trace):
            if self.writes_per_second is not None:
                raise InvalidWorkloadError(
                    "writes_per_second must be left out of a trace: interval_ns says how fast it is",
                    field="writes_per_second",
                    bound="none",
                    value=self.writes_per_second,
                )
        elif self.writes_per_second is None:
            raise InvalidWorkloadError(
                "writes_per_second must be given unless the workload is a trace",
                field="writes_per_second",
                bound=f"1..{MAX_WRITES_PER_SECOND}",
            )
        else:
            check_within(
                InvalidWorkloadError,
                "writes_per_second",
                self.writes_per_second,
                1,
                MAX_WRITES_PER_SECOND,
            )
        if self.burst is not None:
            check_within(InvalidWorkloadError, "on_ns", self.burst.on_ns, 1, MAX_NS)
            check_within(InvalidWorkloadError, "off_ns", self.burst.off_ns, 0, MAX_NS)
        chosen = seed if self.seed is None else self.seed
        check_within(InvalidWorkloadError, "seed", chosen, 0, (1 << 64) - 1)
        return replace(self, num_pages=num_pages, seed=chosen)


@dataclass(frozen=True, slots=True)
class WorkloadView:
    """A workload as it can be looked at.

    Attributes:
        spec: What was added, with `num_pages` and `seed` filled in.
        writes: Writes it has made so far.
        skipped: Those of them whose page the slot no longer had.
    """

    workload_id: str
    spec: WorkloadSpec
    writes: int
    skipped: int


class Workload:
    """A workload on a machine.

    Args:
        ordinal: The n of its id.
        spec: What was added, resolved.
        began_ns: Its writer's time when it was added.
    """

    def __init__(self, ordinal: int, spec: WorkloadSpec, began_ns: int) -> None:
        assert spec.num_pages is not None, "resolved"
        assert spec.seed is not None, "resolved"
        self.workload_id = f"w{ordinal}"
        self.spec = spec
        self.writes = 0
        self.skipped = 0
        self._began_ns = began_ns
        self._writes_by = self._at_its_rate
        if isinstance(spec.pattern, Trace):
            plan = spec.pattern.plan(spec.num_pages)
            self._writes_by = plan.writes_by
            self.pages_of: PagesOf = plan.pages_of
        else:
            self.pages_of = spec.pattern.pages_of(spec.seed, spec.num_pages)

    def writes_by(self, writer_ns: int) -> int:
        """Count the writes that it has made once its writer has run for `writer_ns` in all."""
        time_ns = writer_ns - self._began_ns
        burst = self.spec.burst
        return self._writes_by(time_ns if burst is None else burst.time_on(time_ns))

    def view(self) -> WorkloadView:
        """Look at the workload."""
        return WorkloadView(self.workload_id, self.spec, self.writes, self.skipped)

    def _at_its_rate(self, time_ns: int) -> int:
        assert self.spec.writes_per_second is not None, "resolved"
        return time_ns * self.spec.writes_per_second // NS_PER_SECOND
