"""Fault injection: a union by `type`, so that a place on a type that has none is not in the schema."""

from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from hacdbs_sim.sim.actions import FaultSpec, FaultType, FaultView, FaultWhen, LastHit, LogOp

from .base import Request, answer, omittable
from .fields import Count, PositiveCount, Slot

Op: TypeAlias = Literal["get", "clear"]


class CallWhen(Request):
    """Which calls the fault is for; what is left out matches all."""

    op: Op = omittable()
    slot: Slot = omittable()
    cpu: Count = omittable()

    def to_domain(self) -> FaultWhen:
        """Give the core's value."""
        given = self.model_dump(exclude_unset=True)
        if "op" in given:
            given["op"] = LogOp(given["op"])
        return FaultWhen(**given)


class GetWhen(CallWhen):
    """Which calls of get the fault is for."""

    op: Literal["get"] = omittable()


class RunWhen(CallWhen):
    """Which calls, and which run of the unit in them, from 0."""

    batch: Count = omittable()


class BlockWhen(CallWhen):
    """Which calls, and the block of which guest frame."""

    gfn: Count = omittable()


def _refuse_two_places(schema: dict[str, Any]) -> None:
    schema["not"] = {
        "anyOf": [{"required": ["gfn", "batch"]}, {"required": ["gfn", "index"]}],
    }


class EntryWhen(RunWhen):
    """Which calls, and which entry: by run and index in its array, or by guest frame; not both."""

    model_config = ConfigDict(json_schema_extra=_refuse_two_places)

    index: Count = omittable()
    gfn: Count = omittable()

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if "gfn" in self.model_fields_set and {"batch", "index"} & self.model_fields_set:
            raise PydanticCustomError(
                "two_places",
                "an entry is named by batch and index or by gfn, not by both",
                {"bound": "batch and index, or gfn"},
            )
        return self


class _FaultIn(Request):
    """What all faults share: when they count and when they fire."""

    enabled: bool = True
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    after: Count = Field(default=0, description="Opportunities skipped at first.")
    every: PositiveCount = Field(default=1, description="Then each `every`-th counts.")
    times: PositiveCount | None = Field(default=None, description="Spent after so many hits.")

    type: str
    when: CallWhen

    def to_domain(self) -> FaultSpec:
        """Give the core's value."""
        return FaultSpec(
            type=FaultType(self.type),
            enabled=self.enabled,
            probability=self.probability,
            after=self.after,
            every=self.every,
            times=self.times,
            when=self.when.to_domain(),
        )


class EntryFaultIn(_FaultIn):
    """The unit stops at an entry: external abort (STRUCTF), no mapping (IPAF), or not cleanable."""

    type: Literal["structf", "ipaf", "ipahacf"]
    when: EntryWhen = EntryWhen()


class LostInterruptIn(_FaultIn):
    """The interrupt of a run never comes; the watchdog gives the unit up."""

    type: Literal["lost_interrupt"]
    when: RunWhen = RunWhen()


class SplitFaultIn(_FaultIn):
    """Page tables cannot be allocated, so blocks are not split: all, or the one of `gfn`."""

    type: Literal["split_enomem"]
    when: BlockWhen = BlockWhen()


class HookFaultIn(_FaultIn):
    """The hook declines: no entry buffer (ENOMEM), or the unit is in use (EPERM)."""

    type: Literal["entries_enomem", "unit_busy"]
    when: CallWhen = CallWhen()


class CopyFaultIn(_FaultIn):
    """The copy of the bitmap to userspace fails: the get answers EFAULT."""

    type: Literal["copy_to_user"]
    when: GetWhen = GetWhen()


FaultIn: TypeAlias = Annotated[
    EntryFaultIn | LostInterruptIn | SplitFaultIn | HookFaultIn | CopyFaultIn,
    Field(discriminator="type"),
]


@answer
class WhenOut(TypedDict, total=False):
    """Which calls, and where in them; only what was given."""

    op: Op
    slot: int
    cpu: int
    batch: int
    index: int
    gfn: int


@answer
class LastHitOut(TypedDict):
    """Where a fault last struck."""

    opportunity: int
    op: Op
    slot: int
    cpu: int | None
    batch: int | None
    index: int | None
    gfn: int | None


FaultTypeName: TypeAlias = Literal[
    "structf",
    "ipaf",
    "ipahacf",
    "lost_interrupt",
    "entries_enomem",
    "unit_busy",
    "split_enomem",
    "copy_to_user",
]


@answer
class FaultOut(TypedDict):
    """An armed fault."""

    fault_id: str
    type: FaultTypeName
    enabled: bool
    probability: float
    after: int
    every: int
    times: int | None
    when: WhenOut
    opportunities: int
    hits: int
    last_hit: LastHitOut | None


@answer
class FaultListOut(TypedDict):
    """Armed faults, in order of arming."""

    faults: list[FaultOut]
    next_page_token: str


@answer
class FaultTypeOut(TypedDict):
    """A type of fault: what it does, in which calls, and which fields `when` may have."""

    type: FaultTypeName
    description: str
    ops: list[Op]
    when: list[str]


@answer
class FaultTypeListOut(TypedDict):
    """All types of fault."""

    fault_types: list[FaultTypeOut]


def _when_out(when: FaultWhen) -> WhenOut:
    out: WhenOut = {}
    if when.op is not None:
        out["op"] = when.op.value
    if when.slot is not None:
        out["slot"] = when.slot
    if when.cpu is not None:
        out["cpu"] = when.cpu
    if when.batch is not None:
        out["batch"] = when.batch
    if when.index is not None:
        out["index"] = when.index
    if when.gfn is not None:
        out["gfn"] = when.gfn
    return out


def _last_hit_out(hit: LastHit) -> LastHitOut:
    return {
        "opportunity": hit.opportunity,
        "op": hit.op.value,
        "slot": hit.slot,
        "cpu": hit.cpu,
        "batch": hit.batch,
        "index": hit.index,
        "gfn": hit.gfn,
    }


def fault_out(view: FaultView) -> FaultOut:
    """Project an armed fault."""
    spec = view.spec
    return {
        "fault_id": view.fault_id,
        "type": spec.type.value,
        "enabled": spec.enabled,
        "probability": spec.probability,
        "after": spec.after,
        "every": spec.every,
        "times": spec.times,
        "when": _when_out(spec.when),
        "opportunities": view.opportunities,
        "hits": view.hits,
        "last_hit": None if view.last_hit is None else _last_hit_out(view.last_hit),
    }


_CALL: Final = ["op", "slot", "cpu"]
_BOTH: Final[list[Op]] = ["get", "clear"]


def _type_out(
    name: FaultTypeName, description: str, *places: str, ops: list[Op] = _BOTH
) -> FaultTypeOut:
    return {"type": name, "description": description, "ops": ops, "when": [*_CALL, *places]}


FAULT_TYPES: Final[list[FaultTypeOut]] = [
    _type_out(
        "structf",
        "Reading an entry of the array ends in an external abort; the unit stops there.",
        "batch",
        "index",
        "gfn",
    ),
    _type_out(
        "ipaf",
        "The stage-2 walk of an entry faults as if nothing were mapped; the unit stops there.",
        "batch",
        "index",
        "gfn",
    ),
    _type_out(
        "ipahacf",
        "An entry's leaf is neither writable-clean nor writable-dirty; the unit stops there.",
        "batch",
        "index",
        "gfn",
    ),
    _type_out(
        "lost_interrupt",
        "The interrupt of a run never comes; the watchdog reads INDEX and gives the unit up.",
        "batch",
    ),
    _type_out("entries_enomem", "The hook has no buffer for entries and declines with ENOMEM."),
    _type_out("unit_busy", "The CPU's unit is in use, so the hook declines with EPERM."),
    _type_out(
        "split_enomem",
        "Splits of blocks fail for want of page tables: all of the call, or that of gfn's block.",
        "gfn",
    ),
    _type_out(
        "copy_to_user",
        "The copy to userspace fails and the get answers EFAULT; without manual protect the bits"
        " that it took are gone.",
        ops=["get"],
    ),
]
"""All types, as /v1/fault-types describes them."""
