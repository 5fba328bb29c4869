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
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

from hacdbs_sim.model import errors
from hacdbs_sim.model.faults import (
    AddFault,
    EntryWhen,
    FaultFields,
    FaultInfo,
    FaultType,
    LastHit,
    LogOp,
)

ENTRY_FAULTS: Final = (FaultType.STRUCTF, FaultType.IPAF, FaultType.IPAHACF)
"""The faults that hit one entry, in the order in which the unit would notice them."""

_SHARED: Final = tuple(each.name for each in fields(FaultFields))


@dataclass(frozen=True, slots=True)
class FaultBounds:
    """A machine's limits, to refuse faults that can never hit on it."""

    cpus: int
    end_gfn: int
    entries_per_array: int


def place_of(spec: AddFault) -> EntryWhen:
    """Return a fault's `when` with every field that any type has; None where its own has none."""
    when = spec.when
    if isinstance(when, EntryWhen):
        return when
    return EntryWhen(**{each.name: getattr(when, each.name) for each in fields(when)})


def check_fault(spec: AddFault, bounds: FaultBounds) -> None:
    """Refuse a fault whose `when` names an index, a CPU or a gfn that the machine has not."""
    when = place_of(spec)
    if when.gfn is not None and (when.batch is not None or when.index is not None):
        raise errors.SenselessFaultError(
            "when.gfn must come without when.batch and when.index: they name one entry",
            field="when.gfn",
            value=when.gfn,
        )
    if when.index is not None and not 0 <= when.index < bounds.entries_per_array:
        raise errors.SenselessFaultError.must(
            "when.index",
            f"be 0..{bounds.entries_per_array - 1}, an entry of one array",
            when.index,
            bound=bounds.entries_per_array - 1,
        )
    if when.cpu is not None and not 0 <= when.cpu < bounds.cpus:
        raise errors.NoSuchCpuError.absent("when.cpu", when.cpu, count=bounds.cpus, what="host CPU")
    if when.gfn is not None and not 0 <= when.gfn < bounds.end_gfn:
        raise errors.GfnBeyondIpaSpaceError.must(
            "when.gfn", f"be 0..{bounds.end_gfn - 1}", when.gfn, bound=bounds.end_gfn - 1
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


@dataclass(slots=True, eq=False)
class ArmedFault:
    """A fault on a machine, with its count of opportunities and hits."""

    ordinal: int
    """The n of its id."""
    spec: AddFault
    seed: int
    """The machine's."""
    all_hits: Counter[FaultType]
    """Where the machine counts the hits of all its faults."""
    place: EntryWhen = field(init=False)
    opportunities: int = 0
    hits: int = 0
    last_hit: LastHit | None = None

    def __post_init__(self) -> None:
        """Find its place."""
        self.place = place_of(self.spec)

    @property
    def fault_id(self) -> str:
        """The id, f1, f2, ... in the order of arming."""
        return f"f{self.ordinal}"

    def fires(self) -> bool:
        """Count an opportunity; return whether the fault fires at it."""
        spec = self.spec
        self.opportunities += 1
        turn = self.opportunities - spec.after - 1
        if turn < 0 or turn % spec.every or self.hits == spec.times or not spec.probability:
            return False
        return draw(self.seed, self.ordinal, self.opportunities) < spec.probability

    def hit(self, call: "FaultCall", batch: int | None, index: int | None, gfn: int | None) -> None:
        """Count a hit and remember where."""
        self.hits += 1
        self.all_hits[self.spec.type] += 1
        self.last_hit = LastHit(
            opportunity=self.opportunities,
            op=call.op,
            slot=call.slot,
            cpu=call.cpu,
            batch=batch,
            index=index,
            gfn=gfn,
        )

    def view(self) -> FaultInfo:
        """Return the state of the fault."""
        return FaultInfo(
            fault_id=self.fault_id,
            type=self.spec.type,
            when=self.place,
            opportunities=self.opportunities,
            hits=self.hits,
            last_hit=self.last_hit,
            **{name: getattr(self.spec, name) for name in _SHARED},
        )


Found: TypeAlias = Mapping[tuple[FaultType, int | None], tuple[ArmedFault, ...]]
"""The enabled faults of a board, oldest first, by type and slot (None: any). Replaced, never changed."""


class FaultCall(NamedTuple):
    """One get or clear, with the faults of the board as they were when it began."""

    op: LogOp
    slot: int
    cpu: int | None
    found: Found

    @property
    def has_faults(self) -> bool:
        """Whether a fault of any type matches the call."""
        return bool(self.found) and bool(self._matching(tuple(FaultType)))

    def firing(self, *types: FaultType) -> list[ArmedFault]:
        """Reach a site: count an opportunity for each fault of some types; return those that fire."""
        if not self.found:  # a call passes five sites
            return []
        return [fault for fault in self._matching(types) if fault.fires()]

    def strikes(self, kind: FaultType) -> bool:
        """Reach a site without a place; the oldest fault that fires hits."""
        if not self.found:
            return False
        firing = self.firing(kind)
        if firing:
            firing[0].hit(self, None, None, None)
        return bool(firing)

    def _matching(self, types: tuple[FaultType, ...]) -> list[ArmedFault]:
        """Return the faults of some types that match the call, oldest first."""
        found = [
            fault
            for kind in types
            for slot in (self.slot, None)
            for fault in self.found.get((kind, slot), ())
            if fault.place.op in (None, self.op) and fault.place.cpu in (None, self.cpu)
        ]
        return sorted(found, key=attrgetter("ordinal")) if len(found) > 1 else found


class FaultBoard:
    """All faults of a machine, in the order of arming; a call reads it once, when it begins."""

    def __init__(self, seed: int, bounds: FaultBounds) -> None:
        self._seed = seed
        self._bounds = bounds
        self._next = 1
        self._armed: dict[str, ArmedFault] = {}
        self._found: Found = {}
        self._hits: Counter[FaultType] = Counter()

    def hits(self) -> dict[FaultType, int]:
        """Return the hits so far by type, those of faults since disarmed included."""
        return dict(self._hits)

    def arm(self, spec: AddFault) -> FaultInfo:
        """Arm a fault; see `check_fault` for what is refused."""
        check_fault(spec, self._bounds)
        fault = ArmedFault(self._next, spec, self._seed, self._hits)
        self._next += 1
        self._armed[fault.fault_id] = fault
        if spec.enabled:
            key = _key_of(fault)
            self._found = {**self._found, key: (*self._found.get(key, ()), fault)}
        return fault.view()

    def disarm(self, fault_id: str) -> FaultInfo:
        """Disarm a fault; return its last state (NoSuchFaultError if none has that id)."""
        view = self.view(fault_id)
        fault = self._armed.pop(fault_id)
        if fault.spec.enabled:
            key = _key_of(fault)
            left = tuple(each for each in self._found[key] if each is not fault)
            others = {each: found for each, found in self._found.items() if each != key}
            self._found = {**others, key: left} if left else others
        return view

    def disarm_all(self) -> None:
        """Disarm all faults."""
        self._armed.clear()
        self._found = {}

    def view(self, fault_id: str) -> FaultInfo:
        """Return the state of one fault (NoSuchFaultError if none has that id)."""
        fault = self._armed.get(fault_id)
        if fault is None:
            raise errors.NoSuchFaultError(
                f"fault {fault_id} does not exist", field="fault_id", value=fault_id
            )
        return fault.view()

    def views(self) -> tuple[FaultInfo, ...]:
        """Return the state of all faults."""
        return tuple(fault.view() for fault in tuple(self._armed.values()))

    def armed(self) -> Found:
        """Return the faults as they are when a get or clear begins."""
        return self._found


def _key_of(fault: ArmedFault) -> tuple[FaultType, int | None]:
    return fault.spec.type, fault.place.slot
