"""Fault injection: one class per type, so that a place which a type does not have cannot be given."""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeAlias, get_args

from hacdbs_sim.model import errors
from hacdbs_sim.model.base import Action, Model, Query, Request
from hacdbs_sim.model.kinds import (
    Boolean,
    Count,
    Fraction,
    Gfn,
    ObjectId,
    Omitted,
    PositiveCount,
    SlotId,
    Tagged,
)


class FaultType(StrEnum):
    """What can be made to go wrong (docs/kernel.md S.3)."""

    STRUCTF = "structf"
    IPAF = "ipaf"
    IPAHACF = "ipahacf"
    LOST_INTERRUPT = "lost_interrupt"
    ENTRIES_ENOMEM = "entries_enomem"
    UNIT_BUSY = "unit_busy"
    SPLIT_ENOMEM = "split_enomem"
    COPY_TO_USER = "copy_to_user"


class LogOp(StrEnum):
    """The calls that faults are considered in."""

    GET = "get"
    CLEAR = "clear"


@dataclass(frozen=True, kw_only=True)
class CallWhen(Request):
    """Which calls a fault is for; what is left out matches all."""

    op: Omitted[LogOp] = None
    """Calls of get, or of clear."""
    slot: Omitted[SlotId] = None
    """Calls on this memslot."""
    cpu: Omitted[Count] = None
    """Calls on this host CPU."""


@dataclass(frozen=True, kw_only=True)
class GetWhen(CallWhen):
    """Which calls of get a fault is for."""

    op: Omitted[Literal[LogOp.GET]] = None


@dataclass(frozen=True, kw_only=True)
class RunWhen(CallWhen):
    """Which calls, and which run of the unit in them."""

    batch: Omitted[Count] = None
    """The run, from 0."""


@dataclass(frozen=True, kw_only=True)
class BlockWhen(CallWhen):
    """Which calls, and which block."""

    gfn: Omitted[Gfn] = None
    """A guest frame of the block."""


@dataclass(frozen=True, kw_only=True)
class EntryWhen(RunWhen):
    """Which calls, and which entry: by run and index in its array, or by guest frame; not both."""

    not_with = (("gfn", "batch"), ("gfn", "index"))

    index: Omitted[Count] = None
    """The entry in its array."""
    gfn: Omitted[Gfn] = None
    """The entry's guest frame."""


@dataclass(frozen=True, kw_only=True)
class FaultFields(Model):
    """When a fault counts, and when it fires."""

    enabled: Boolean = True
    """Whether it counts at all."""
    probability: Fraction = 1.0
    """How likely it fires at an opportunity, drawn from the machine's seed."""
    after: Count = 0
    """Opportunities skipped at first."""
    every: PositiveCount = 1
    """Then each `every`-th counts."""
    times: PositiveCount | None = None
    """Spent after so many hits; null: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastHit(Model):
    """Where a fault last hit."""

    opportunity: Count
    """Its number, from 1."""
    op: LogOp
    """The call."""
    slot: SlotId
    """The memslot."""
    cpu: Count | None
    """The host CPU; null for a copy under manual protect."""
    batch: Count | None
    """The run, where the type has one."""
    index: Count | None
    """The entry, where the type has one."""
    gfn: Gfn | None
    """Its guest frame, where the type has one."""


@dataclass(frozen=True, kw_only=True)
class FaultInfo(FaultFields):
    """An armed fault."""

    fault_id: str
    """f1, f2, ... in the order of arming."""
    type: FaultType
    """What goes wrong."""
    when: EntryWhen
    """Which calls, and where in them; only what was given."""
    opportunities: Count
    """Calls that reached its site."""
    hits: Count
    """How often it hit."""
    last_hit: LastHit | None
    """Where it last did."""


@dataclass(frozen=True, kw_only=True)
class AddFault(FaultFields, Action[FaultInfo]):
    """Arm a fault; it takes effect at the next get or clear."""

    refusals = (errors.SenselessFaultError, errors.NoSuchCpuError, errors.GfnBeyondIpaSpaceError)

    type: FaultType
    """What goes wrong."""
    when: CallWhen = CallWhen()
    """Which calls, and where in them."""


@dataclass(frozen=True, kw_only=True)
class AddStructf(AddFault):
    """Reading an entry of the array ends in an external abort; the unit stops there."""

    type: Literal[FaultType.STRUCTF] = FaultType.STRUCTF
    when: EntryWhen = EntryWhen()


@dataclass(frozen=True, kw_only=True)
class AddIpaf(AddFault):
    """The stage-2 walk of an entry faults as if nothing were mapped; the unit stops there."""

    type: Literal[FaultType.IPAF] = FaultType.IPAF
    when: EntryWhen = EntryWhen()


@dataclass(frozen=True, kw_only=True)
class AddIpahacf(AddFault):
    """An entry's leaf is neither writable-clean nor writable-dirty; the unit stops there."""

    type: Literal[FaultType.IPAHACF] = FaultType.IPAHACF
    when: EntryWhen = EntryWhen()


@dataclass(frozen=True, kw_only=True)
class AddLostInterrupt(AddFault):
    """The interrupt of a run never comes; the watchdog reads INDEX and stops the unit."""

    type: Literal[FaultType.LOST_INTERRUPT] = FaultType.LOST_INTERRUPT
    when: RunWhen = RunWhen()


@dataclass(frozen=True, kw_only=True)
class AddEntriesEnomem(AddFault):
    """The hook has no buffer for entries and declines with ENOMEM."""

    type: Literal[FaultType.ENTRIES_ENOMEM] = FaultType.ENTRIES_ENOMEM


@dataclass(frozen=True, kw_only=True)
class AddUnitBusy(AddFault):
    """The CPU's unit is in use, so the hook declines with EPERM."""

    type: Literal[FaultType.UNIT_BUSY] = FaultType.UNIT_BUSY


@dataclass(frozen=True, kw_only=True)
class AddSplitEnomem(AddFault):
    """Splits of blocks fail for want of page tables: all of the call, or that of gfn's block."""

    type: Literal[FaultType.SPLIT_ENOMEM] = FaultType.SPLIT_ENOMEM
    when: BlockWhen = BlockWhen()


@dataclass(frozen=True, kw_only=True)
class AddCopyToUser(AddFault):
    """The copy to userspace fails and the get returns EFAULT.

    Without manual protect the bits that it took are gone.
    """

    type: Literal[FaultType.COPY_TO_USER] = FaultType.COPY_TO_USER
    when: GetWhen = GetWhen()


AnyFault: TypeAlias = Annotated[
    AddStructf
    | AddIpaf
    | AddIpahacf
    | AddLostInterrupt
    | AddSplitEnomem
    | AddEntriesEnomem
    | AddUnitBusy
    | AddCopyToUser,
    Tagged("type"),
]

FAULTS: Final[dict[FaultType, type[AddFault]]] = {
    kind.type: kind for kind in get_args(get_args(AnyFault)[0])
}
"""The class of each type."""


def when_class(kind: FaultType) -> type[CallWhen]:
    """Return the class of a type's `when`."""
    (when,) = (each for each in fields(FAULTS[kind]) if each.name == "when")
    assert isinstance(when.default, CallWhen), "a fault's `when` has a default"
    return type(when.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFault(Action[FaultInfo]):
    """Disarm a fault; a call in flight keeps the faults that it began with."""

    refusals = (errors.NoSuchFaultError,)

    fault_id: ObjectId
    """Which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFaults(Action[None]):
    """Disarm all faults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFault(Query[FaultInfo]):
    """Show an armed fault."""

    refusals = (errors.NoSuchFaultError,)

    fault_id: ObjectId
    """Which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFaults(Query[tuple[FaultInfo, ...]]):
    """List the armed faults, in the order of arming."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountFaultHits(Query[dict[FaultType, Count]]):
    """Count the hits so far by type, those of faults since disarmed included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultTypeInfo(Model):
    """A type of fault."""

    type: FaultType
    """Its name."""
    description: str
    """What it does."""
    ops: tuple[LogOp, ...]
    """The calls that it is considered in."""
    when: tuple[str, ...]
    """The fields that its `when` may have."""


def _type_info(kind: FaultType) -> FaultTypeInfo:
    when = when_class(kind)
    is_get = when is GetWhen
    return FaultTypeInfo(
        type=kind,
        description=" ".join((FAULTS[kind].__doc__ or "").split()),
        ops=(LogOp.GET,) if is_get else tuple(LogOp),
        when=tuple(each.name for each in fields(when)),
    )


FAULT_TYPES: Final = tuple(map(_type_info, FaultType))
"""All types."""
