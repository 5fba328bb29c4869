"""The HACDBS unit of one host CPU: its transitions as a table, its registers, its counters.

Theory of operation. A unit is OFF until its CPU comes up, then IDLE. A run: the kernel zeroes
HACDBSCONS_EL2, writes HACDBSBR_EL2 with EN set (IDLE to RUNNING) and waits; the unit walks the array
and asserts its level interrupt when it has read the last entry or ERR_REASON is not 0. The handler
reads HACDBSCONS_EL2: NOF is the end of a full array, IPAHACF at the stop entry the end of a short
one (both RUNNING to IDLE), anything else a failure (RUNNING to ERROR). Writing HACDBSBR_EL2 = 0 drops
the interrupt and leaves IDLE (docs/kernel.md C.4, D). RUNNING and ERROR never outlive an action.
"""

from dataclasses import dataclass, field
from enum import IntEnum, auto
from functools import cache, lru_cache
from typing import Final, NamedTuple

from hacdbs_sim.model import CpuInfo, ErrReasonName, HacdbsbrInfo, HacdbsconsInfo, UnitStatus
from hacdbs_sim.sim.arm64.sysregs import ErrReason, Hacdbsbr, Hacdbscons


class UnitEvent(IntEnum):
    """What moves a unit from one status to the next."""

    CPU_UP = auto()
    CPU_DOWN = auto()
    START = auto()
    FINISHED = auto()
    FAILED = auto()
    STOP = auto()


TRANSITIONS: Final[dict[tuple[UnitStatus, UnitEvent], UnitStatus]] = {
    (UnitStatus.OFF, UnitEvent.CPU_UP): UnitStatus.IDLE,
    (UnitStatus.IDLE, UnitEvent.CPU_DOWN): UnitStatus.OFF,
    (UnitStatus.IDLE, UnitEvent.START): UnitStatus.RUNNING,
    (UnitStatus.RUNNING, UnitEvent.FINISHED): UnitStatus.IDLE,
    (UnitStatus.RUNNING, UnitEvent.FAILED): UnitStatus.ERROR,
    (UnitStatus.IDLE, UnitEvent.STOP): UnitStatus.IDLE,
    (UnitStatus.ERROR, UnitEvent.STOP): UnitStatus.IDLE,
}


DISABLED: Final = Hacdbsbr()
"""HACDBSBR_EL2 between runs."""


@cache
def _enabled(array_sz: int) -> Hacdbsbr:
    """Return HACDBSBR_EL2 during runs."""
    return Hacdbsbr(en=True, sz=array_sz)


class Walk(NamedTuple):
    """The runs of one call, as the unit accounts for them."""

    runs: int
    """Arrays that the unit was given, at least 1."""
    entries: int
    """Entries in them."""
    cleaned: int
    """Entries that it cleaned."""
    end: Hacdbscons
    """HACDBSCONS_EL2 as the last run left it."""
    last_size: int
    """Entries in the last array."""
    interrupt_lost: bool
    """Whether the last run's interrupt never came."""


@lru_cache(1 << 10)
def end_of_array(size: int, capacity: int) -> Hacdbscons:
    """Return HACDBSCONS_EL2 after an array of cleaned entries: a short one ends at a stop entry."""
    if size == capacity:
        return Hacdbscons(ErrReason.NOF, size)
    return Hacdbscons(ErrReason.IPAHACF, size)


def is_failure(end: Hacdbscons, size: int) -> bool:
    """Return whether the interrupt handler takes an end for a failure, not for the stop entry."""
    if end.err_reason is ErrReason.NOF:
        return False
    return not (end.err_reason is ErrReason.IPAHACF and end.index >= size)


def interrupt_asserted(base: Hacdbsbr, cons: Hacdbscons) -> bool:
    """Return the level of HACDBSIRQ: enabled, and finished or stopped by an error."""
    return base.en and (cons.index >= base.entries or cons.err_reason is not ErrReason.NOF)


@dataclass(slots=True, eq=False)
class Unit:
    """One host CPU with its HACDBS unit."""

    cpu: int
    built: bool
    """Whether the kernel has support for it."""
    online: bool = False
    status: UnitStatus = UnitStatus.OFF
    base: Hacdbsbr = DISABLED
    cons: Hacdbscons = field(default_factory=Hacdbscons)
    interrupts: int = 0
    runs: int = 0
    entries: int = 0
    cleaned: int = 0

    def __post_init__(self) -> None:
        """Bring the CPU up."""
        self.set_online(online=True)

    def set_online(self, *, online: bool) -> None:
        """Bring the CPU up or down; without kernel support its unit stays OFF."""
        if online is not self.online:
            self.online = online
            if self.built:
                self._on(UnitEvent.CPU_UP if online else UnitEvent.CPU_DOWN)

    def account(self, walk: Walk, array_sz: int) -> None:
        """Account for the runs of one call, in arrays of HACDBSBR_EL2.SZ `array_sz`."""
        self._on(UnitEvent.START)
        self.base = _enabled(array_sz)
        self.cons = walk.end
        assert interrupt_asserted(self.base, self.cons), "a run ends by its interrupt"
        failed = is_failure(self.cons, walk.last_size)
        self._on(UnitEvent.FAILED if failed else UnitEvent.FINISHED)
        self.base = DISABLED
        self._on(UnitEvent.STOP)
        self.interrupts += walk.runs - walk.interrupt_lost
        self.runs += walk.runs
        self.entries += walk.entries
        self.cleaned += walk.cleaned

    def view(self) -> CpuInfo:
        """Return the state of the unit."""
        return CpuInfo(
            cpu=self.cpu,
            online=self.online,
            status=self.status,
            hacdbsbr_el2=HacdbsbrInfo(
                raw=self.base.encode(), baddr=self.base.baddr, en=self.base.en, sz=self.base.sz
            ),
            hacdbscons_el2=HacdbsconsInfo(
                raw=self.cons.encode(),
                err_reason=ErrReasonName[self.cons.err_reason.name],
                index=self.cons.index,
            ),
            interrupts=self.interrupts,
            runs=self.runs,
            entries=self.entries,
            cleaned=self.cleaned,
        )

    def _on(self, event: UnitEvent) -> None:
        self.status = TRANSITIONS[self.status, event]
