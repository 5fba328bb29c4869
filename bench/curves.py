"""The two curves of the manual: time against pages, requests against connections."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.core import PAGE_SIZE, CoreSlot, all_pages
from bench.kernel_loop import KernelLoop, LoopSlot
from bench.over_http import BURST, GetService, gets, plain_side
from bench.planes import ThreePasses
from bench.rounds import Effort, Side, in_turn
from bench.rows import SkippedError

PAGES: Final = tuple(1 << power for power in range(9, 26, 2))
CONNECTIONS: Final = (1, 2, 4, 8, 16, 32, 64)

_POINT: Final = Effort(0.5, 5)


@dataclass(frozen=True, slots=True)
class Curve:
    """A line of a plot."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def time_against_pages() -> list[Curve]:
    """Measure a clear with every page dirty for slots of many sizes."""
    try:
        loop = KernelLoop()
    except SkippedError:
        loop = None
    core: list[float] = []
    passes: list[float] = []
    loops: list[float] = []
    for pages in PAGES:
        slot = CoreSlot(pages * PAGE_SIZE)
        three = Side(ThreePasses(pages).sweep)
        times = in_turn(slot.clear_side(), three, _POINT)
        core.append(median(times[0]))
        passes.append(median(times[1]))
        if loop is not None:
            looped = LoopSlot(loop, all_pages(pages))
            times = in_turn(Side(looped.clear, looped.refill), three, _POINT)
            loops.append(median(times[0]))
    curves = [Curve("core clear", PAGES, core), Curve("three numpy passes", PAGES, passes)]
    return [Curve("C loop, -O2", PAGES, loops), *curves] if loops else curves


def requests_against_connections(get_service: GetService) -> list[Curve]:
    """Measure summaries of a 1 GiB slot, dirty and clean, for many numbers of connections."""
    service = get_service()
    rates: dict[str, list[float]] = {"plain FastAPI endpoint": []}
    for name, dirty in (("get, all dirty", True), ("get, clean", False)):
        rates[name] = []
        with gets(service, dirty=dirty) as requests:
            for count in CONNECTIONS:
                with service.crowd(count) as crowd:
                    sides = requests.side(crowd), plain_side(crowd, requests.plain, BURST)
                    ours, empty = in_turn(*sides, _POINT)
                rates[name].append(BURST / median(ours))
                if not dirty:
                    rates["plain FastAPI endpoint"].append(BURST / median(empty))
    return [Curve(name, CONNECTIONS, rate) for name, rate in rates.items()]
