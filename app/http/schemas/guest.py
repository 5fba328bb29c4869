"""Virtual time: the clock of a VM, runs of its guest, and what events cost."""

from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import Field, create_model
from typing_extensions import TypedDict

from hacdbs_sim.sim.actions import KNOBS, ClockView, CostModel, GuestRun
from hacdbs_sim.sim.guest.costs import MAX_COST_PS
from hacdbs_sim.sim.guest.running import MAX_THROTTLE_PERCENT

from .accesses import AccessOut, access_out
from .base import Request, answer, example
from .fields import Whole
from .workloads import Nanoseconds


class AdvanceIn(Request):
    """How long the guest stays paused."""

    model_config = example(duration_ns=10_000_000)

    duration_ns: Nanoseconds


class RunIn(Request):
    """How long the guest runs, and how much of that it is kept from running."""

    model_config = example(duration_ns=10_000_000, throttle_percent=20)

    duration_ns: Nanoseconds
    throttle_percent: Annotated[int, Whole(0, MAX_THROTTLE_PERCENT)] = 0


class _CostsIn(Request):
    """Knobs of the cost model, in picoseconds; those left out keep their default."""

    def to_domain(self) -> CostModel:
        """Give the core's value."""
        return CostModel(**self.model_dump())


def _knob(default: int, source: str) -> Any:  # noqa: ANN401 - pydantic's own form of a field
    return (Annotated[int, Whole(0, MAX_COST_PS)], Field(default=default, description=source))


CostsIn: Final[type[_CostsIn]] = create_model(
    "CostsIn",
    __base__=_CostsIn,
    __doc__=_CostsIn.__doc__,
    **{knob.name: _knob(knob.default, knob.source) for knob in KNOBS},
)
"""A field for each knob, as `CostModel` has them."""


@answer
class ClockOut(TypedDict):
    """A VM's clock, in nanoseconds since it was made; `debt_ns` is what the next run pays."""

    now_ns: int
    guest_ns: int
    stalled_ns: int
    throttled_ns: int
    debt_ns: int


@answer
class GuestRunOut(AccessOut):
    """What a run of the guest did: its time, its writes, and what they met."""

    clock: ClockOut
    guest_ns: int
    stalled_ns: int
    throttled_ns: int
    slices: int
    writes: int
    skipped: int


@answer
class KnobOut(TypedDict):
    """A knob of the cost model: its default, and where that comes from."""

    name: str
    unit: str
    default: int
    assumption: bool
    source: str


@answer
class CostModelOut(TypedDict):
    """All knobs."""

    knobs: list[KnobOut]


KNOBS_OUT: Final[list[KnobOut]] = [
    {
        "name": knob.name,
        "unit": knob.unit,
        "default": knob.default,
        "assumption": knob.assumption,
        "source": knob.source,
    }
    for knob in KNOBS
]

costs_out: Final[Callable[[CostModel], dict[str, int]]] = lru_cache(maxsize=64)(asdict)
"""Projects a cost model; nearly all VMs have the same."""


def clock_out(view: ClockView) -> ClockOut:
    """Project a clock."""
    return {
        "now_ns": view.now_ns,
        "guest_ns": view.guest_ns,
        "stalled_ns": view.stalled_ns,
        "throttled_ns": view.throttled_ns,
        "debt_ns": view.debt_ns,
    }


def guest_run_out(run: GuestRun) -> GuestRunOut:
    """Project a run."""
    return {
        "clock": clock_out(run.clock),
        "guest_ns": run.guest_ns,
        "stalled_ns": run.stalled_ns,
        "throttled_ns": run.throttled_ns,
        "slices": run.slices,
        "writes": run.writes,
        "skipped": run.skipped,
        **access_out(run.accesses),
    }
