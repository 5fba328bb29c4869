"""Armed faults, one object each (docs/kernel.md S.3)."""

from dataclasses import asdict, dataclass, field
from typing import Final

from hacdbs_sim.model import AddFault, EntryWhen, FaultInfo, FaultType, LastHit, LogOp, VmConfig
from tests.support.scalar_refusal import Refused

ENTRY_FAULTS: Final = (FaultType.STRUCTF, FaultType.IPAF, FaultType.IPAHACF)
"""Faults of one entry, in the order in which they win at the same entry."""

UINT64: Final = (1 << 64) - 1


def mix(z: int) -> int:
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & UINT64
    z = (z ^ z >> 27) * 0x94D049BB133111EB & UINT64
    return z ^ z >> 31


def step(h: int, x: int) -> int:
    return mix(h + 0x9E3779B97F4A7C15 * (x + 1) & UINT64)


def draw(seed: int, ordinal: int, opportunity: int) -> float:
    """Return the number in [0, 1) that an opportunity is decided by."""
    h = step(step(mix(seed & UINT64), ordinal), opportunity)
    return float(h >> 11) / 2.0**53


@dataclass(frozen=True, slots=True)
class Call:
    """One get or clear, as a fault's `when` sees it."""

    op: LogOp
    slot: int
    cpu: int | None


@dataclass(slots=True, eq=False)
class ScalarFault:
    """One armed fault; `place` is its `when`, None for what its type does not have."""

    ordinal: int
    spec: AddFault
    place: EntryWhen = field(init=False)
    opportunities: int = 0
    hits: int = 0
    last_hit: LastHit | None = None

    def __post_init__(self) -> None:
        self.place = EntryWhen(**asdict(self.spec.when))

    @property
    def fault_id(self) -> str:
        return f"f{self.ordinal}"

    def matches(self, call: Call) -> bool:
        when = self.place
        return (
            self.spec.enabled
            and when.op in {None, call.op}
            and when.slot in {None, call.slot}
            and when.cpu in {None, call.cpu}
        )

    def fires(self, seed: int) -> bool:
        """Use one opportunity."""
        self.opportunities += 1
        past = self.opportunities - self.spec.after - 1
        if past < 0 or past % self.spec.every:
            return False
        if self.spec.times is not None and self.hits >= self.spec.times:
            return False
        return draw(seed, self.ordinal, self.opportunities) < self.spec.probability

    def hit(
        self,
        call: Call,
        *,
        batch: int | None = None,
        index: int | None = None,
        gfn: int | None = None,
    ) -> None:
        self.hits += 1
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
        return FaultInfo(
            fault_id=self.fault_id,
            type=self.spec.type,
            enabled=self.spec.enabled,
            probability=self.spec.probability,
            after=self.spec.after,
            every=self.spec.every,
            times=self.spec.times,
            when=self.place,
            opportunities=self.opportunities,
            hits=self.hits,
            last_hit=self.last_hit,
        )


class ScalarFaults:
    """The faults of one VM, in the order of their arming."""

    def __init__(self, config: VmConfig) -> None:
        self.seed = config.seed
        self.entries_per_array = config.page_size // 8
        self.cpus = config.cpus
        self.end_gfn = (1 << config.ipa_bits) // config.page_size
        self.armed: dict[str, ScalarFault] = {}
        self.ordinal = 0

    def arm(self, spec: AddFault) -> FaultInfo:
        fault = ScalarFault(self.ordinal + 1, spec)
        when = fault.place
        is_twofold = when.gfn is not None and (when.batch, when.index) != (None, None)
        if is_twofold or not 0 <= (when.index or 0) < self.entries_per_array:
            raise Refused("senseless_fault")
        if when.cpu is not None and not 0 <= when.cpu < self.cpus:
            raise Refused("no_such_cpu")
        if when.gfn is not None and not 0 <= when.gfn < self.end_gfn:
            raise Refused("gfn_beyond_ipa_space")
        self.ordinal += 1
        self.armed[fault.fault_id] = fault
        return fault.view()

    def disarm(self, fault_id: str) -> FaultInfo:
        if fault_id not in self.armed:
            raise Refused("no_such_fault")
        return self.armed.pop(fault_id).view()

    def firing(self, types: tuple[FaultType, ...], call: Call) -> list[ScalarFault]:
        """Offer a call to every armed fault of these types; return those that fire, oldest first."""
        offered = [f for f in self.armed.values() if f.spec.type in types and f.matches(call)]
        return [fault for fault in offered if fault.fires(self.seed)]
