"""The core and the service against real KVM on this machine, where it has /dev/kvm."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.core import PAGE_SIZE, SEED, WARMED, CoreSlot, all_pages
from bench.goals import Goal, at_least
from bench.over_http import CLEAR, WRITE, GetService
from bench.real import real_slot
from bench.rounds import Effort, Side, waiting
from bench.rows import Figures, Row, compare
from bench.service import Service, slot_of
from bench.wire import OCTETS, as_json, request
from hacdbs_sim.model import DeleteMemslot, Gfns, GuestWrite, SetMemslot, VmConfig
from hacdbs_sim.model.units import GIB
from hacdbs_sim.sim.machine import Machine

_IOCTL: Final = "real KVM's ioctl"
_FAULTS: Final = "real KVM's write faults"
_WRITTEN_BYTES: Final = 8 * GIB

REPEATS: Final = 9
"""Of our side in a round; the guest of the other needs seconds to make its slot dirty again."""


def _clear(size_bytes: int, effort: Effort, goal: Goal) -> Figures:
    slot = CoreSlot(size_bytes)
    words = all_pages(slot.npages)
    every = np.arange(slot.npages, dtype=np.uint64)
    with real_slot(size_bytes) as real:
        theirs = Side(lambda: real.clear(words), lambda: real.write(every))
        return compare(goal, slot.clear_side(REPEATS), theirs, effort)


def _http_clear(size_bytes: int, effort: Effort, goal: Goal, service: Service) -> Figures:
    npages = size_bytes // PAGE_SIZE
    words = all_pages(npages)
    every = np.arange(npages, dtype=np.uint64)
    exchange = service.connection.exchange
    with real_slot(size_bytes) as real, service.vms(1, size_bytes, manual_protect=1) as (vm,):
        clear = request("POST", vm + CLEAR, words.tobytes(), OCTETS)
        write = request("POST", vm + WRITE, as_json({"gfn_ranges": [[0, npages]]}))
        ours = waiting(lambda: exchange(clear), lambda: exchange(write), REPEATS)
        theirs = Side(lambda: real.clear(words), lambda: real.write(every))
        return compare(goal, ours, theirs, effort)


def _random_gfns(count: int) -> NDArray[np.uint64]:
    pages = _WRITTEN_BYTES // PAGE_SIZE
    return np.random.default_rng(SEED).integers(0, pages, count).astype(np.uint64)


def _write(count: int, effort: Effort, goal: Goal) -> Figures:
    gfns = _random_gfns(count)
    machine = Machine(VmConfig())
    write = GuestWrite(pages=Gfns(gfns))
    create = SetMemslot(slot=0, guest_phys_addr=0, memory_size=_WRITTEN_BYTES, flags=1)
    machine.perform(create)

    def renew() -> None:
        machine.perform(DeleteMemslot(slot=0))
        machine.perform(create)

    with real_slot(_WRITTEN_BYTES) as real:
        ours = Side(lambda: machine.perform(write), renew, REPEATS)
        return compare(goal, ours, Side(lambda: real.write(gfns), real.renew), effort)


def _http_write(count: int, effort: Effort, goal: Goal, service: Service) -> Figures:
    gfns = _random_gfns(count)
    slot = slot_of(_WRITTEN_BYTES)
    del slot["slot"]
    exchange = service.connection.exchange
    with real_slot(_WRITTEN_BYTES) as real, service.vms(1, _WRITTEN_BYTES) as (vm,):
        write = request("POST", vm + WRITE, gfns.astype("<u8").tobytes(), OCTETS)

        def renew() -> None:
            exchange(request("DELETE", f"{vm}/memslots/0"))
            exchange(request("PUT", f"{vm}/memslots/0", as_json(slot)))

        ours = waiting(lambda: exchange(write), renew, REPEATS)
        theirs = Side(lambda: real.write(gfns), real.renew)
        return compare(goal, ours, theirs, effort)


def rows(effort: Effort, get_service: GetService, *, quick: bool) -> Iterator[Row]:
    """Return the rows against KVM; the quick ones have smaller slots and fewer pages."""
    size_bytes = GIB // 2 if quick else 2 * GIB
    count = 100_000 if quick else 1_000_000
    size = f"{size_bytes / GIB:g} GiB"
    yield Row(
        "clear-kvm",
        f"core clear, {size}",
        f"{WARMED}, all dirty",
        _IOCTL,
        at_least(50),
        lambda goal: _clear(size_bytes, effort, goal),
    )
    yield Row(
        "http-clear-kvm",
        f"POST clear as octets, {size}",
        f"{WARMED}, all dirty",
        _IOCTL,
        at_least(5),
        lambda goal: _http_clear(size_bytes, effort, goal, get_service()),
    )
    yield Row(
        "write-kvm",
        f"core guest write, {count:,} random gfns in 8 GiB",
        "logging, nothing mapped; KVM's memory resident",
        _FAULTS,
        at_least(100),
        lambda goal: _write(count, effort, goal),
    )
    yield Row(
        "http-write-kvm",
        "the same over HTTP, as octets",
        "logging, nothing mapped; KVM's memory resident",
        _FAULTS,
        at_least(30),
        lambda goal: _http_write(count, effort, goal, get_service()),
    )
