"""Large bodies and batches, on one connection."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from bench.core import PAGE_SIZE, random_pages
from bench.goals import Goal, at_least
from bench.over_http import CLEAR, GET, WRITE, GetService
from bench.rounds import Effort, nothing, waiting
from bench.rows import Figures, Row, compare
from bench.service import Service
from bench.serving import BITMAP_BYTES
from bench.wire import OCTETS, as_json, request
from hacdbs_sim.model.units import GIB

ACTIONS: Final = 1_000

_PAGES: Final = 8 * BITMAP_BYTES
_SAME_BYTES: Final = "the same bytes, empty endpoint"


def _one_percent() -> tuple[bytes, bytes]:
    """Return a bitmap with 1 % random pages, and their gfns."""
    words = random_pages(_PAGES, _PAGES // 100)
    gfns = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
    return words.tobytes(), gfns.astype("<u8").tobytes()


def _out(service: Service, effort: Effort, goal: Goal) -> Figures:
    bitmap, gfns = _one_percent()
    accept = {"Accept": OCTETS}
    empty = request("GET", "/empty-out/x", headers=accept)
    exchange = service.connection.exchange
    with service.vms(1, _PAGES * PAGE_SIZE, manual_protect=1) as (vm,):
        exchange(request("POST", vm + WRITE, gfns, OCTETS))
        get = request("POST", vm + GET, headers=accept)
        assert exchange(get) == bitmap, "the get is a copy of the log"
        ours = waiting(lambda: exchange(get))
        theirs = waiting(lambda: exchange(empty))
        return compare(goal, ours, theirs, effort)


def _in(service: Service, effort: Effort, goal: Goal, *, dirty: bool) -> Figures:
    bitmap, gfns = _one_percent()
    empty = request("POST", "/empty-in/x", bitmap, OCTETS)
    exchange = service.connection.exchange
    with service.vms(1, _PAGES * PAGE_SIZE, manual_protect=1) as (vm,):
        clear = request("POST", vm + CLEAR, bitmap, OCTETS)
        write = request("POST", vm + WRITE, gfns, OCTETS)
        ours = waiting(lambda: exchange(clear), (lambda: exchange(write)) if dirty else nothing)
        theirs = waiting(lambda: exchange(empty))
        return compare(goal, ours, theirs, effort)


def _batch(service: Service, effort: Effort, goal: Goal) -> Figures:
    gfns = [7 * number for number in range(ACTIONS)]
    exchange = service.connection.exchange
    with service.vms(1, GIB) as (vm,):
        actions = [{"op": "guest_write", "gfns": [gfn]} for gfn in gfns]
        batch = request("POST", f"{vm}/batch", as_json({"actions": actions}))
        singles = [request("POST", vm + WRITE, as_json({"gfns": [gfn]})) for gfn in gfns]
        take = request("POST", f"{vm}{GET}?format=summary")

        def one_by_one() -> None:
            for single in singles:
                exchange(single)

        ours = waiting(lambda: exchange(batch), lambda: exchange(take))
        theirs = waiting(one_by_one, lambda: exchange(take))
        return compare(goal, ours, theirs, effort)


def rows(effort: Effort, get_service: GetService) -> Iterator[Row]:
    """Return the rows of large bodies and of the batch."""
    yield Row(
        "http-bitmap-out",
        "4 MiB bitmap out: get as octets, 128 GiB",
        "manual protect, 1 % random pages dirty",
        _SAME_BYTES,
        at_least(0.5),
        lambda goal: _out(get_service(), effort, goal),
    )
    yield Row(
        "http-bitmap-in",
        "4 MiB bitmap in: clear as octets, 128 GiB",
        "manual protect, 1 % random pages dirty, warmed",
        _SAME_BYTES,
        at_least(0.5),
        lambda goal: _in(get_service(), effort, goal, dirty=True),
    )
    yield Row(
        "http-bitmap-in-clean",
        "the same",
        "manual protect, nothing dirty",
        _SAME_BYTES,
        at_least(0.5),
        lambda goal: _in(get_service(), effort, goal, dirty=False),
    )
    yield Row(
        "http-batch",
        "batch of 1,000 guest writes of one page",
        "logging; pages warmed, none dirty",
        "1,000 requests, one connection",
        at_least(6),
        lambda goal: _batch(get_service(), effort, goal),
    )
