"""The guest's part of a walk: workloads of every kind, runs, the clock, page versions.

Runs are short: the model makes every write by itself.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from hacdbs_sim.model import (
    Action,
    AddHotSet,
    AddIntervals,
    AddMoving,
    AddReplay,
    AddSequential,
    AddUniform,
    AddWorkload,
    AddZipf,
    AdvanceClock,
    Burst,
    DeleteWorkload,
    DeleteWorkloads,
    Intervals,
    MemslotInfo,
    NeedVersions,
    RunGuest,
    TrackVersions,
    WorkloadInfo,
    Writer,
)

if TYPE_CHECKING:
    from tests.property.walking import Walk

Spec: TypeAlias = Callable[..., AddWorkload]
"""A workload that lacks its slot, its window and its writer yet."""

MOST_WORKLOADS: Final = 3
FEW_WRITES: Final = 150
SOME_SLICES: Final = 6_000
"""Writes of a run that is cut into two slices mostly (4,096 writes to each but the first)."""

TOO_MANY_WRITES: Final = 1 << 26
DAY_NS: Final = 86_400 * 10**9
LONGEST_NS: Final = 10**15
FIXED: Final[tuple[Spec, ...]] = (
    AddSequential,
    AddUniform,
    AddHotSet,
    AddZipf,
    partial(AddZipf, exponent=2.5),
)
KINDS: Final = ("fixed", "fixed", "fixed", "moving", "intervals", "intervals", "replay")


def add_workload(walk: "Walk") -> Action[Any]:
    """Add a workload; where there are enough, take one off."""
    if len(walk.model.workloads()) >= MOST_WORKLOADS:
        return remove_workload(walk)
    dice, slot = walk.dice, walk.dice.pick(walk.slots())
    first = dice.pick((0, dice.between(0, slot.npages - 1)))
    num = dice.pick((None, dice.between(1, slot.npages - first)))
    spec = _spec(walk, slot.npages - first if num is None else num)
    given: dict[str, Any] = {
        "slot": slot.slot,
        "first_page": first,
        "num_pages": num,
        "seed": dice.pick((None, 7, (1 << 53) - 1)),
        "burst": dice.pick(
            (None, None, Burst(on_ns=30_000, off_ns=50_000), Burst(on_ns=100_000, off_ns=0)),
        ),
        "writer": dice.pick((Writer.GUEST, Writer.GUEST, Writer.HOST)),
        "vcpu": dice.pick((0,) * 19 + (walk.config.vcpus,)),
    }
    return spec(**given) if dice.between(0, 9) else _senseless(walk, spec, given, slot)


def _spec(walk: "Walk", num_pages: int) -> Spec:
    """Draw a kind of workload and what is the kind's own."""
    dice = walk.dice
    match dice.pick(KINDS):
        case "moving":
            return partial(
                AddMoving,
                set_pages=dice.between(1, num_pages),
                step_pages=dice.between(1, num_pages),
                move_every_writes=dice.pick((10, 1)),
                writes_per_second=_rate(walk),
            )
        case "intervals":
            return _intervals(walk, num_pages)
        case "replay":
            loop = dice.pick((True, False))
            return partial(AddReplay, trace="cc1", interval_ns=100_000, loop=loop, scale=True)
        case _:
            return partial(dice.pick(FIXED), writes_per_second=_rate(walk))


def _rate(walk: "Walk") -> int:
    return walk.dice.pick((100_000, 20_000, 1_000_000))


def _intervals(walk: "Walk", num_pages: int) -> Spec:
    dice = walk.dice
    copies = min(dice.pick((1, 1, 2, 3)), num_pages)
    scale = dice.pick((False, True))
    last = num_pages // copies * (2 if scale else 1) - 1
    lengths = [dice.between(0, 6) for _ in range(4)]
    pages = [dice.between(0, last) for _ in range(sum(lengths))]
    return partial(
        AddIntervals,
        pages=Intervals(
            starts=np.array([sum(lengths[:at]) for at in range(len(lengths) + 1)], np.int64),
            pages=np.array(pages, np.uint32),
        ),
        interval_ns=dice.pick((50_000, 7_001)),
        loop=dice.pick((True, True, False)),
        copies=copies,
        scale=scale,
    )


def _senseless(
    walk: "Walk",
    spec: Spec,
    given: dict[str, Any],
    slot: MemslotInfo,
) -> Action[WorkloadInfo]:
    """Take a window that its slot does not have, or a pattern that its window does not hold."""
    trace = partial(
        AddIntervals,
        pages=Intervals(starts=np.array([0, 1]), pages=np.array([slot.npages], np.uint32)),
        interval_ns=1_000,
        **given,
    )
    empty = Intervals(starts=np.array([0]), pages=np.zeros(0, np.uint32))
    moving = partial(AddMoving, move_every_writes=10, writes_per_second=1_000, **given)
    return walk.dice.pick(
        (
            spec(**{**given, "first_page": slot.npages}),
            spec(**{**given, "first_page": 1, "num_pages": slot.npages}),
            moving(set_pages=slot.npages + 1),
            moving(set_pages=1, step_pages=slot.npages + 1),
            trace(),
            trace(copies=4096),
            AddIntervals(pages=empty, interval_ns=1_000, **given),
        ),
    )


def remove_workload(walk: "Walk") -> Action[Any]:
    ids = [view.workload_id for view in walk.model.workloads()]
    return DeleteWorkload(workload_id=walk.dice.pick(ids or ["w1"]))


def remove_workloads(_walk: "Walk") -> Action[Any]:
    return DeleteWorkloads()


def run_guest(walk: "Walk") -> Action[Any]:
    """Run for so long that little is written, or for so long that it is refused."""
    if not walk.model.workloads() and walk.dice.between(0, 9):
        return add_workload(walk)
    dice, guest = walk.dice, walk.model.guest
    throttle = dice.pick((0, 0, 0, 20, 99))
    duration, most = dice.pick(((200_000, FEW_WRITES),) * 38 + ((1, 0), (10**9, SOME_SLICES)))
    if not dice.between(0, 29) and guest.writes_ahead(DAY_NS, throttle) > TOO_MANY_WRITES:
        return RunGuest(duration_ns=DAY_NS, throttle_percent=throttle)
    while duration > 1 and guest.writes_ahead(duration, throttle) > most:
        duration = duration * 3 // 4
    return RunGuest(duration_ns=duration, throttle_percent=throttle)


def advance_clock(walk: "Walk") -> Action[Any] | tuple[Action[Any], ...]:
    """Let time pass; now and then all that a clock has, but for some hours."""
    if not walk.dice.between(0, 39):
        return (AdvanceClock(duration_ns=LONGEST_NS),) * 9
    return AdvanceClock(duration_ns=walk.dice.pick((1, 1_000, 10**9, LONGEST_NS)))


def track_versions(walk: "Walk") -> Action[Any]:
    is_on = walk.dice.pick((True, True, True, False))
    return walk.dice.pick((TrackVersions(enabled=is_on), NeedVersions(needed=is_on)))
