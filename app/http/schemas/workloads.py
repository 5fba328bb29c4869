"""Workloads: a union by `kind`, so that each has its own fields and no other."""

from abc import abstractmethod
from itertools import chain
from typing import Annotated, ClassVar, Final, Literal, NotRequired, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import FailFast, Field, PrivateAttr, model_validator
from typing_extensions import TypedDict, override

from hacdbs_sim.sim.actions import (
    Burst,
    HotSet,
    Moving,
    Pattern,
    Sequential,
    Trace,
    Uniform,
    WorkloadSpec,
    WorkloadView,
    Writer,
    Zipf,
)
from hacdbs_sim.sim.guest.patterns import MAX_EXPONENT, MIN_EXPONENT
from hacdbs_sim.sim.guest.trace import MAX_COPIES
from hacdbs_sim.sim.guest.workload import MAX_NS, MAX_WRITES_PER_SECOND
from hacdbs_sim.sim.kvm.region import MAX_MEMSLOT_PAGES
from hacdbs_sim.traces.recording import builtin

from .base import Request, answer, example, omittable
from .fields import Count, PositiveCount, Slot, Whole

MAX_INTERVALS: Final = 65_536

IntervalStarts: TypeAlias = NDArray[np.int64]
TracePages: TypeAlias = NDArray[np.uint32]
TraceName: TypeAlias = Literal["xz", "sqlite", "cc1"]
KindName: TypeAlias = Literal[
    "sequential", "uniform", "hot_set", "zipf", "moving", "replay", "intervals"
]

Nanoseconds = Annotated[int, Whole(1, MAX_NS)]
Rate = Annotated[int, Whole(1, MAX_WRITES_PER_SECOND)]
Share = Annotated[float, Field(ge=0, le=1)]
PageOfTrace = Annotated[int, Whole(le=MAX_MEMSLOT_PAGES - 1)]


class BurstIn(Request):
    """Writes for `on_ns`, rests for `off_ns`, and so on."""

    on_ns: Nanoseconds
    off_ns: Annotated[int, Whole(0, MAX_NS)]


class WorkloadFields(Request):
    """What all workloads share: where they write, who writes, and when it rests."""

    max_bytes: ClassVar[int | None] = 8 << 20

    slot: Slot
    first_page: Count = Field(default=0, description="Start of the window, in pages of the slot.")
    num_pages: PositiveCount = omittable(description="Its length; absent: to the slot's end.")
    seed: Count = omittable(description="Absent: made of the VM's seed and the workload's number.")
    burst: BurstIn | None = None
    writer: Literal["guest", "host"] = "guest"
    vcpu: Count = 0

    @abstractmethod
    def pattern(self) -> Pattern:
        """Give the core's pattern."""

    def to_domain(self) -> WorkloadSpec:
        """Give the core's value."""
        return WorkloadSpec(
            slot=self.slot,
            pattern=self.pattern(),
            writes_per_second=getattr(self, "writes_per_second", None),
            first_page=self.first_page,
            num_pages=self.num_pages,
            seed=self.seed,
            burst=None if self.burst is None else Burst(self.burst.on_ns, self.burst.off_ns),
            writer=Writer(self.writer),
            vcpu=self.vcpu,
        )


class _Timed(WorkloadFields):
    """What writes at a rate."""

    writes_per_second: Rate


class SequentialIn(_Timed):
    """Page after page, from the start again at the window's end."""

    model_config = example(slot=0, kind="sequential", writes_per_second=100_000)

    kind: Literal["sequential"]

    @override
    def pattern(self) -> Sequential:
        """Give the core's pattern."""
        return Sequential()


class UniformIn(_Timed):
    """Each page as likely as any other."""

    model_config = example(slot=0, kind="uniform", writes_per_second=100_000)

    kind: Literal["uniform"]

    @override
    def pattern(self) -> Uniform:
        """Give the core's pattern."""
        return Uniform()


class HotSetIn(_Timed):
    """A share of the writes goes to a fraction of the pages, those at the window's start."""

    model_config = example(
        slot=0, kind="hot_set", writes_per_second=100_000, hot_fraction=0.05, hot_share=0.9
    )

    kind: Literal["hot_set"]
    hot_fraction: Share = 0.1
    hot_share: Share = 0.9

    @override
    def pattern(self) -> HotSet:
        """Give the core's pattern."""
        return HotSet(self.hot_fraction, self.hot_share)


class ZipfIn(_Timed):
    """Rank k is written in proportion to k**-exponent; the ranks are scattered over the window."""

    model_config = example(slot=0, kind="zipf", writes_per_second=100_000, exponent=1.1)

    kind: Literal["zipf"]
    exponent: Annotated[float, Field(ge=MIN_EXPONENT, le=MAX_EXPONENT)] = 1.0

    @override
    def pattern(self) -> Zipf:
        """Give the core's pattern."""
        return Zipf(self.exponent)


class MovingIn(_Timed):
    """A working set of `set_pages` that moves by `step_pages` every so many writes."""

    model_config = example(
        slot=0, kind="moving", writes_per_second=100_000, set_pages=64, move_every_writes=1_000
    )

    kind: Literal["moving"]
    set_pages: PositiveCount
    move_every_writes: PositiveCount
    step_pages: PositiveCount = 1

    @override
    def pattern(self) -> Moving:
        """Give the core's pattern."""
        return Moving(self.set_pages, self.move_every_writes, self.step_pages)


class _Replayed(WorkloadFields):
    """What has its own times: the intervals of a trace."""

    interval_ns: Nanoseconds
    loop: bool = Field(default=True, description="Whether it begins anew at its end.")
    copies: Annotated[int, Whole(1, MAX_COPIES)] = Field(
        default=1, description="So many play side by side, each in an equal part of the window."
    )
    scale: bool = Field(default=False, description="Whether it is stretched over its part.")

    def _trace(self, name: str | None, starts: IntervalStarts, pages: TracePages) -> Trace:
        return Trace(starts, pages, self.interval_ns, self.loop, self.copies, self.scale, name)


class ReplayIn(_Replayed):
    """A recorded program's writes: a trace that comes with the service."""

    model_config = example(slot=0, kind="replay", trace="xz", interval_ns=1_000_000, copies=2)

    kind: Literal["replay"]
    trace: TraceName

    @override
    def pattern(self) -> Trace:
        """Give the core's pattern."""
        recording = builtin(self.trace)
        return self._trace(self.trace, recording.interval_start, recording.pages)


class IntervalsIn(_Replayed):
    """A trace given in full: the pages that each interval writes."""

    model_config = example(
        slot=0, kind="intervals", pages=[[0, 1, 2], [], [1]], interval_ns=1_000_000
    )

    kind: Literal["intervals"]
    pages: Annotated[
        list[Annotated[list[PageOfTrace], FailFast()]],
        FailFast(),
        Field(min_length=1, max_length=MAX_INTERVALS),
    ]

    _joined: tuple[IntervalStarts, TracePages] = PrivateAttr()

    @model_validator(mode="after")
    def _join(self) -> Self:
        """Join the lists where they are validated: in a thread, if they are long."""
        lengths = np.array([len(interval) for interval in self.pages], np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        pages = np.fromiter(chain.from_iterable(self.pages), np.uint32, count=int(starts[-1]))
        self._joined = (starts, pages)
        return self

    @override
    def pattern(self) -> Trace:
        """Give the core's pattern."""
        return self._trace(None, *self._joined)


WorkloadIn: TypeAlias = Annotated[
    SequentialIn | UniformIn | HotSetIn | ZipfIn | MovingIn | ReplayIn | IntervalsIn,
    Field(discriminator="kind"),
]
KINDS: Final = ("sequential", "uniform", "hot_set", "zipf", "moving", "replay", "intervals")
"""Tags of the union."""


@answer
class BurstOut(TypedDict):
    """Writes for `on_ns`, rests for `off_ns`, and so on."""

    on_ns: int
    off_ns: int


@answer
class WorkloadOut(TypedDict):
    """A workload: what all have, then what its kind has."""

    workload_id: str
    slot: int
    kind: KindName
    writes_per_second: int | None
    first_page: int
    num_pages: int
    seed: int
    burst: BurstOut | None
    writer: Literal["guest", "host"]
    vcpu: int
    writes: int
    skipped: int
    hot_fraction: NotRequired[float]
    hot_share: NotRequired[float]
    exponent: NotRequired[float]
    set_pages: NotRequired[int]
    move_every_writes: NotRequired[int]
    step_pages: NotRequired[int]
    trace: NotRequired[str]
    interval_ns: NotRequired[int]
    loop: NotRequired[bool]
    copies: NotRequired[int]
    scale: NotRequired[bool]
    interval_count: NotRequired[int]
    record_count: NotRequired[int]


@answer
class WorkloadListOut(TypedDict):
    """Workloads, in the order in which they were added."""

    workloads: list[WorkloadOut]
    next_page_token: str


def workload_out(view: WorkloadView) -> WorkloadOut:
    """Project a workload; the pages of a trace are told by their count."""
    spec = view.spec
    assert spec.num_pages is not None, "filled in when it was added"
    assert spec.seed is not None, "filled in when it was added"
    out: WorkloadOut = {
        "workload_id": view.workload_id,
        "slot": spec.slot,
        "kind": spec.pattern.kind,
        "writes_per_second": spec.writes_per_second,
        "first_page": spec.first_page,
        "num_pages": spec.num_pages,
        "seed": spec.seed,
        "burst": None
        if spec.burst is None
        else {"on_ns": spec.burst.on_ns, "off_ns": spec.burst.off_ns},
        "writer": spec.writer.value,
        "vcpu": spec.vcpu,
        "writes": view.writes,
        "skipped": view.skipped,
    }
    match spec.pattern:
        case HotSet(hot_fraction, hot_share):
            out["hot_fraction"] = hot_fraction
            out["hot_share"] = hot_share
        case Zipf(exponent):
            out["exponent"] = exponent
        case Moving(set_pages, move_every_writes, step_pages):
            out["set_pages"] = set_pages
            out["move_every_writes"] = move_every_writes
            out["step_pages"] = step_pages
        case Trace() as trace:
            _tell_trace(out, trace)
        case _:
            pass
    return out


def _tell_trace(out: WorkloadOut, trace: Trace) -> None:
    if trace.name is not None:
        out["trace"] = trace.name
    out["interval_ns"] = trace.interval_ns
    out["loop"] = trace.loop
    out["copies"] = trace.copies
    out["scale"] = trace.scale
    out["interval_count"] = trace.intervals
    out["record_count"] = len(trace.pages)
