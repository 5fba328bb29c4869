"""Workloads: what writes by itself whenever the guest runs; one class per kind."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeAlias, get_args

from annotated_types import Ge, Le

from hacdbs_sim.model import errors
from hacdbs_sim.model.base import Action, Model, Query, Request
from hacdbs_sim.model.kinds import (
    MAX_NS,
    Boolean,
    Count,
    Fraction,
    Nanoseconds,
    ObjectId,
    PositiveCount,
    SlotId,
    Tagged,
    whole,
)
from hacdbs_sim.model.pages import IntervalPages

MAX_WRITES_PER_SECOND: Final = 10**9
MIN_EXPONENT: Final = 0.01
MAX_EXPONENT: Final = 10.0
MAX_COPIES: Final = 4096

Rate = Annotated[int, whole(1, MAX_WRITES_PER_SECOND)]
Exponent = Annotated[float, Ge(MIN_EXPONENT), Le(MAX_EXPONENT)]
Copies = Annotated[int, whole(1, MAX_COPIES)]
TraceName: TypeAlias = Literal["xz", "sqlite", "cc1"]


class Writer(StrEnum):
    """Who writes: a vCPU, or the host kernel (kvm_write_guest, as a virtual device does)."""

    GUEST = "guest"
    HOST = "host"


class WorkloadKind(StrEnum):
    """Which pages a workload writes, in which order (docs/workloads.md)."""

    SEQUENTIAL = "sequential"
    UNIFORM = "uniform"
    HOT_SET = "hot_set"
    ZIPF = "zipf"
    MOVING = "moving"
    REPLAY = "replay"
    INTERVALS = "intervals"


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst(Request):
    """Writes for `on_ns`, then rests for `off_ns`, and so on."""

    on_ns: Nanoseconds
    """How long it writes."""
    off_ns: Annotated[int, whole(0, MAX_NS)]
    """How long it rests."""

    def time_on(self, time_ns: int) -> int:
        """Return the nanoseconds of the first `time_ns` in which it writes."""
        periods, within = divmod(time_ns, self.on_ns + self.off_ns)
        return periods * self.on_ns + min(within, self.on_ns)


@dataclass(frozen=True, kw_only=True)
class WorkloadFields(Model):
    """Where a workload writes, its writer, and when it rests."""

    slot: SlotId
    """The memslot that it writes in."""
    first_page: Count = 0
    """Start of its window, in pages of the slot."""
    num_pages: PositiveCount | None = None
    """Length of its window; to the slot's end if absent."""
    seed: Count | None = None
    """Of its draws; made of the VM's seed and the workload's number if absent."""
    burst: Burst | None = None
    """When it rests; null: never."""
    writer: Writer = Writer.GUEST
    """The guest, whose time is slowed by faults and throttling; or the host, whose is not."""
    vcpu: Count = 0
    """Which vCPU writes."""


@dataclass(frozen=True, kw_only=True)
class TimedFields(WorkloadFields):
    """What writes at a rate."""

    writes_per_second: Rate
    """How often, while its writer runs."""


@dataclass(frozen=True, kw_only=True)
class TraceFields(WorkloadFields):
    """What has its own times: the intervals of a trace."""

    interval_ns: Nanoseconds
    """How long an interval lasts."""
    loop: Boolean = True
    """Whether it begins anew at its end; else it writes nothing more."""
    copies: Copies = 1
    """So many play side by side, each in an equal part of the window."""
    scale: Boolean = False
    """Whether it is stretched over its part."""


@dataclass(frozen=True, kw_only=True)
class Sequential(TimedFields):
    """Page after page, from the start again at the window's end."""

    kind: Literal[WorkloadKind.SEQUENTIAL] = WorkloadKind.SEQUENTIAL


@dataclass(frozen=True, kw_only=True)
class Uniform(TimedFields):
    """Each page as likely as any other."""

    kind: Literal[WorkloadKind.UNIFORM] = WorkloadKind.UNIFORM


@dataclass(frozen=True, kw_only=True)
class HotSet(TimedFields):
    """A share of the writes goes to a fraction of the pages, those at the window's start."""

    kind: Literal[WorkloadKind.HOT_SET] = WorkloadKind.HOT_SET
    hot_fraction: Fraction = 0.1
    """Of the pages."""
    hot_share: Fraction = 0.9
    """Of the writes."""


@dataclass(frozen=True, kw_only=True)
class Zipf(TimedFields):
    """Rank k is written in proportion to k**-exponent; the ranks are scattered over the window."""

    kind: Literal[WorkloadKind.ZIPF] = WorkloadKind.ZIPF
    exponent: Exponent = 1.0
    """Of Zipf's law."""


@dataclass(frozen=True, kw_only=True)
class Moving(TimedFields):
    """A working set whose start moves on every so many writes."""

    kind: Literal[WorkloadKind.MOVING] = WorkloadKind.MOVING
    set_pages: PositiveCount
    """Its size."""
    move_every_writes: PositiveCount
    """After so many writes it moves."""
    step_pages: PositiveCount = 1
    """How far."""


@dataclass(frozen=True, kw_only=True)
class Replay(TraceFields):
    """A recorded program's writes: a trace that comes with the service."""

    kind: Literal[WorkloadKind.REPLAY] = WorkloadKind.REPLAY
    trace: TraceName
    """Its name."""


@dataclass(frozen=True, kw_only=True)
class Progress(Model):
    """How far a workload has come."""

    workload_id: str
    """w1, w2, ... in the order in which they were added."""
    writes: Count
    """Writes it has made so far."""
    skipped: Count
    """Those of them whose page the slot no longer had."""


@dataclass(frozen=True, kw_only=True)
class SequentialInfo(Sequential, Progress):
    """A sequential workload on a VM."""


@dataclass(frozen=True, kw_only=True)
class UniformInfo(Uniform, Progress):
    """A uniform workload on a VM."""


@dataclass(frozen=True, kw_only=True)
class HotSetInfo(HotSet, Progress):
    """A workload with a hot set on a VM."""


@dataclass(frozen=True, kw_only=True)
class ZipfInfo(Zipf, Progress):
    """A workload after Zipf's law on a VM."""


@dataclass(frozen=True, kw_only=True)
class MovingInfo(Moving, Progress):
    """A workload whose working set moves, on a VM."""


@dataclass(frozen=True, kw_only=True)
class TraceProgress(Progress):
    """How far a trace has come, and how much it has."""

    writes_per_second: Rate | None = None
    """Null: a trace has its own times."""
    interval_count: Count
    """Its intervals."""
    record_count: Count
    """Page records in them."""


@dataclass(frozen=True, kw_only=True)
class ReplayInfo(Replay, TraceProgress):
    """A recorded program's writes on a VM."""


@dataclass(frozen=True, kw_only=True)
class IntervalsInfo(TraceFields, TraceProgress):
    """A trace given in full on a VM; its pages are reported by their count."""

    kind: Literal[WorkloadKind.INTERVALS] = WorkloadKind.INTERVALS


WorkloadInfo: TypeAlias = Annotated[
    SequentialInfo | UniformInfo | HotSetInfo | ZipfInfo | MovingInfo | ReplayInfo | IntervalsInfo,
    Tagged("kind"),
]

WORKLOAD_INFOS: Final[dict[WorkloadKind, Callable[..., WorkloadInfo]]] = {
    info.kind: info for info in get_args(get_args(WorkloadInfo)[0])
}
"""The class of each kind, as a VM has it."""


@dataclass(frozen=True, kw_only=True)
class AddWorkload(WorkloadFields, Action[WorkloadInfo]):
    """Add writes of the guest, or of the host beside it, made whenever the guest runs."""

    refusals = (errors.NoSuchMemslotError, errors.NoSuchVcpuError, errors.InvalidWorkloadError)
    kind: WorkloadKind


@dataclass(frozen=True, kw_only=True)
class AddSequential(Sequential, AddWorkload):
    """Add a workload that writes page after page."""


@dataclass(frozen=True, kw_only=True)
class AddUniform(Uniform, AddWorkload):
    """Add a workload that writes each page as likely as any other."""


@dataclass(frozen=True, kw_only=True)
class AddHotSet(HotSet, AddWorkload):
    """Add a workload with a hot set."""


@dataclass(frozen=True, kw_only=True)
class AddZipf(Zipf, AddWorkload):
    """Add a workload after Zipf's law."""


@dataclass(frozen=True, kw_only=True)
class AddMoving(Moving, AddWorkload):
    """Add a workload whose working set moves."""


@dataclass(frozen=True, kw_only=True)
class AddReplay(Replay, AddWorkload):
    """Add a trace that comes with the service."""


@dataclass(frozen=True, kw_only=True)
class AddIntervals(TraceFields, AddWorkload):
    """Add a trace given in full."""

    kind: Literal[WorkloadKind.INTERVALS] = WorkloadKind.INTERVALS
    pages: IntervalPages
    """The pages that each interval writes."""


AnyWorkload: TypeAlias = Annotated[
    AddSequential | AddUniform | AddHotSet | AddZipf | AddMoving | AddReplay | AddIntervals,
    Tagged("kind"),
]

WORKLOADS: Final[tuple[type[AddWorkload], ...]] = get_args(get_args(AnyWorkload)[0])
"""The class of each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteWorkload(Action[WorkloadInfo]):
    """Take a workload off."""

    refusals = (errors.NoSuchWorkloadError,)

    workload_id: ObjectId
    """Which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteWorkloads(Action[None]):
    """Take all workloads off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetWorkload(Query[WorkloadInfo]):
    """Show a workload, and how far it has come."""

    refusals = (errors.NoSuchWorkloadError,)

    workload_id: ObjectId
    """Which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListWorkloads(Query[tuple[WorkloadInfo, ...]]):
    """List the workloads, in the order in which they were added."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListWorkloadSpecs(Query[tuple[AddWorkload, ...]]):
    """Return what would add each workload again, from its start, in the order of their adding."""
