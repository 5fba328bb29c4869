"""Faults, deterministic by seed.

Whether a fault of `probability` p fires at an opportunity is a pure function: with mix() the
splitmix64 finaliser over uint64 (all arithmetic modulo 2**64):

    mix(z): z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
            z = (z ^ z >> 27) * 0x94D049BB133111EB
            return z ^ z >> 31
    step(h, x) = mix(h + 0x9E3779B97F4A7C15 * (x + 1))
    draw(seed, ordinal, opportunity) = (step(step(mix(seed), ordinal), opportunity) >> 11) / 2**53

It fires iff draw < p. `ordinal` is the n of the fault id "f{n}" (from 1), opportunities count from 1.
"""

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from hacdbs_sim.model.errors import (
    GfnBeyondIpaSpaceError,
    NoSuchCpuError,
    NoSuchFaultError,
    SenselessFaultError,
)


class FaultType(StrEnum):
    """What can be made to go wrong (design.md 3.3)."""

    STRUCTF = "structf"
    IPAF = "ipaf"
    IPAHACF = "ipahacf"
    LOST_INTERRUPT = "lost_interrupt"
    ENTRIES_ENOMEM = "entries_enomem"
    UNIT_BUSY = "unit_busy"
    SPLIT_ENOMEM = "split_enomem"
    COPY_TO_USER = "copy_to_user"


ENTRY_FAULTS: Final = (FaultType.STRUCTF, FaultType.IPAF, FaultType.IPAHACF)
"""The faults that strike at one entry, in the order in which the unit would notice them."""

_PLACES: Final[dict[FaultType, frozenset[str]]] = {
    FaultType.STRUCTF: frozenset({"batch", "index", "gfn"}),
    FaultType.IPAF: frozenset({"batch", "index", "gfn"}),
    FaultType.IPAHACF: frozenset({"batch", "index", "gfn"}),
    FaultType.LOST_INTERRUPT: frozenset({"batch"}),
    FaultType.ENTRIES_ENOMEM: frozenset(),
    FaultType.UNIT_BUSY: frozenset(),
    FaultType.SPLIT_ENOMEM: frozenset({"gfn"}),
    FaultType.COPY_TO_USER: frozenset(),
}
"""Which parts of a place each type has."""


class LogOp(StrEnum):
    """The calls that faults are considered in."""

    GET = "get"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class FaultWhen:
    """Which calls a fault is for, and where in them it strikes; None means any, or the default."""

    op: LogOp | None = None
    slot: int | None = None
    cpu: int | None = None
    batch: int | None = None
    index: int | None = None
    gfn: int | None = None


@dataclass(frozen=True, slots=True)
class FaultSpec:
    """A fault as it is armed."""

    type: FaultType
    enabled: bool = True
    probability: float = 1.0
    after: int = 0
    every: int = 1
    times: int | None = None
    when: FaultWhen = FaultWhen()


@dataclass(frozen=True, slots=True)
class LastHit:
    """Where a fault last struck: its opportunity number (from 1), the call, and the place."""

    opportunity: int
    op: LogOp
    slot: int
    cpu: int | None
    batch: int | None
    index: int | None
    gfn: int | None


@dataclass(frozen=True, slots=True)
class FaultView:
    """An armed fault as it can be looked at."""

    fault_id: str
    spec: FaultSpec
    opportunities: int
    hits: int
    last_hit: LastHit | None


@dataclass(frozen=True, slots=True)
class FaultBounds:
    """What a machine has, to refuse faults that could never strike on it."""

    cpus: int
    end_gfn: int
    entries_per_array: int


def check_fault(spec: FaultSpec, bounds: FaultBounds) -> None:
    """Refuse a fault that makes no sense on a machine.

    Raises:
        SenselessFaultError: a bad figure, or a place that the type has not.
        NoSuchCpuError: `when.cpu` does not exist.
        GfnBeyondIpaSpaceError: `when.gfn` does not exist.
    """
    when = spec.when
    if not 0 <= spec.probability <= 1:
        raise SenselessFaultError(
            f"probability must be 0..1, not {spec.probability}",
            field="probability",
            bound="0..1",
            value=str(spec.probability),
        )
    _check_at_least("after", spec.after, 0)
    _check_at_least("every", spec.every, 1)
    _check_at_least("times", spec.times, 1)
    _check_at_least("when.batch", when.batch, 0)
    _check_at_least("when.slot", when.slot, 0)
    for name in ("batch", "index", "gfn"):
        if getattr(when, name) is not None and name not in _PLACES[spec.type]:
            raise SenselessFaultError(
                f"when.{name} must be left out: a {spec.type.value} fault has no such place",
                field=f"when.{name}",
                value=getattr(when, name),
            )
    if when.gfn is not None and (when.batch is not None or when.index is not None):
        raise SenselessFaultError(
            "when.gfn must come without when.batch and when.index: they name one entry",
            field="when.gfn",
            value=when.gfn,
        )
    if spec.type is FaultType.COPY_TO_USER and when.op is LogOp.CLEAR:
        raise SenselessFaultError(
            "when.op must be get for a copy_to_user fault: a clear copies nothing to the user",
            field="when.op",
            bound="get",
            value="clear",
        )
    if when.index is not None and not 0 <= when.index < bounds.entries_per_array:
        raise SenselessFaultError(
            f"when.index must be 0..{bounds.entries_per_array - 1}, an entry of one array, "
            f"not {when.index}",
            field="when.index",
            bound=bounds.entries_per_array - 1,
            value=when.index,
        )
    if when.cpu is not None and not 0 <= when.cpu < bounds.cpus:
        raise NoSuchCpuError(
            f"when.cpu must be 0..{bounds.cpus - 1}, not {when.cpu}",
            field="when.cpu",
            bound=bounds.cpus - 1,
            value=when.cpu,
        )
    if when.gfn is not None and not 0 <= when.gfn < bounds.end_gfn:
        raise GfnBeyondIpaSpaceError(
            f"when.gfn must be 0..{bounds.end_gfn - 1}, not {when.gfn}",
            field="when.gfn",
            bound=bounds.end_gfn - 1,
            value=when.gfn,
        )


def _check_at_least(field: str, value: int | None, bound: int) -> None:
    if value is not None and value < bound:
        raise SenselessFaultError(
            f"{field} must be at least {bound}, not {value}", field=field, bound=bound, value=value
        )


_U64: Final = (1 << 64) - 1


def _mix(z: int) -> int:
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _U64
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _U64
    return z ^ z >> 31


def _step(h: int, x: int) -> int:
    return _mix(h + 0x9E3779B97F4A7C15 * (x + 1) & _U64)


def draw(seed: int, ordinal: int, opportunity: int) -> float:
    """Draw from [0, 1), a pure function of its arguments (module docstring)."""
    return (_step(_step(_mix(seed & _U64), ordinal), opportunity) >> 11) / (1 << 53)


class ArmedFault:
    """A fault on a machine, with its count of opportunities and hits.

    Args:
        ordinal: The n of its id.
        spec: What was armed.
        seed: The machine's.
        all_hits: Where the machine counts the hits of all its faults.
    """

    __slots__ = ("_all_hits", "_last_hit", "_ordinal", "_seed", "hits", "opportunities", "spec")

    def __init__(
        self, ordinal: int, spec: FaultSpec, seed: int, all_hits: Counter[FaultType]
    ) -> None:
        self._ordinal = ordinal
        self._seed = seed
        self._all_hits = all_hits
        self.spec = spec
        self.opportunities = 0
        self.hits = 0
        self._last_hit: LastHit | None = None

    @property
    def fault_id(self) -> str:
        """Value of the id, f1, f2, ... in the order of arming."""
        return f"f{self._ordinal}"

    def fires(self) -> bool:
        """Count an opportunity; tell whether the fault fires at it."""
        spec = self.spec
        self.opportunities += 1
        turn = self.opportunities - spec.after - 1
        if turn < 0 or turn % spec.every or self.hits == spec.times or not spec.probability:
            return False
        return draw(self._seed, self._ordinal, self.opportunities) < spec.probability

    def hit(self, call: "FaultCall", batch: int | None, index: int | None, gfn: int | None) -> None:
        """Count a hit and remember where."""
        self.hits += 1
        self._all_hits[self.spec.type] += 1
        self._last_hit = LastHit(
            self.opportunities, call.op, call.slot, call.cpu, batch, index, gfn
        )

    def view(self) -> FaultView:
        """Look at the fault."""
        return FaultView(self.fault_id, self.spec, self.opportunities, self.hits, self._last_hit)


class FaultCall(NamedTuple):
    """One get or clear, with the faults that are for it as they were when it began."""

    op: LogOp
    slot: int
    cpu: int | None
    faults: tuple[ArmedFault, ...]

    def firing(self, *types: FaultType) -> list[ArmedFault]:
        """Reach a site: give each fault of some types its opportunity; give those that fire."""
        if not self.faults:  # a call passes five sites
            return []
        return [fault for fault in self.faults if fault.spec.type in types and fault.fires()]

    def strikes(self, kind: FaultType) -> bool:
        """Reach a site without a place; the oldest fault that fires hits."""
        if not self.faults:
            return False
        firing = self.firing(kind)
        if firing:
            firing[0].hit(self, None, None, None)
        return bool(firing)


class FaultBoard:
    """All faults of a machine, in the order of arming.

    A call reads the board once, when it begins, so arming and disarming need not wait for it.
    """

    def __init__(self, seed: int, bounds: FaultBounds) -> None:
        self._seed = seed
        self._bounds = bounds
        self._next = 1
        self._armed: dict[str, ArmedFault] = {}
        self._hits: Counter[FaultType] = Counter()

    def hits(self) -> dict[FaultType, int]:
        """Give the hits so far by type, those of faults since disarmed included."""
        return dict(self._hits)

    def arm(self, spec: FaultSpec) -> FaultView:
        """Arm a fault; see `check_fault` for what is refused."""
        check_fault(spec, self._bounds)
        fault = ArmedFault(self._next, spec, self._seed, self._hits)
        self._next += 1
        self._armed[fault.fault_id] = fault
        return fault.view()

    def disarm(self, fault_id: str) -> FaultView:
        """Take a fault off; give its last state.

        Raises:
            NoSuchFaultError: none has that id.
        """
        view = self.view(fault_id)
        del self._armed[fault_id]
        return view

    def view(self, fault_id: str) -> FaultView:
        """Look at one fault.

        Raises:
            NoSuchFaultError: none has that id.
        """
        fault = self._armed.get(fault_id)
        if fault is None:
            raise NoSuchFaultError(
                f"fault {fault_id} does not exist", field="fault_id", value=fault_id
            )
        return fault.view()

    def views(self) -> tuple[FaultView, ...]:
        """Look at all faults."""
        return tuple(fault.view() for fault in tuple(self._armed.values()))

    def call(self, op: LogOp, slot: int, cpu: int | None) -> FaultCall:
        """Begin a get or clear: pick the enabled faults that match it."""
        if not self._armed:
            return FaultCall(op, slot, cpu, ())
        matching = tuple(
            fault
            for fault in tuple(self._armed.values())
            if fault.spec.enabled
            and fault.spec.when.op in (None, op)
            and fault.spec.when.slot in (None, slot)
            and fault.spec.when.cpu in (None, cpu)
        )
        return FaultCall(op, slot, cpu, matching)
