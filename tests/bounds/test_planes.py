"""A slot's planes are not there until the first page leaf or the first dirty page is."""

import tracemalloc
from collections.abc import Callable

import pytest

from hacdbs_sim.model import FaultType, GuestRead, HostUnmap, HostWrite
from tests.support.building import (
    GIB,
    arm,
    clear,
    get,
    machine,
    ranges,
    read,
    set_log,
    states,
    write,
)
from tests.support.machine import Machine

KIB = 1 << 10
NPAGES = 64 * GIB // 4096
PLANE_BYTES = NPAGES // 8


def held_bytes(made: Machine, doing: Callable[[Machine], object]) -> int:
    """What a machine holds more after doing something."""
    tracemalloc.start()
    try:
        doing(made)
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def decline(made: Machine) -> None:
    arm(made, FaultType.UNIT_BUSY)
    get(made)


def relog(made: Machine) -> None:
    set_log(made, on=False)
    set_log(made, on=True)


@pytest.mark.parametrize(
    "doing",
    [
        lambda made: made.perform(HostUnmap(pages=ranges((0, 100)))),
        relog,
        lambda made: clear(made, (0, 100)).software,
        lambda made: made.stage2(0, 1000, 10).runs,
        decline,
    ],
    ids=["unmap", "log off and on", "clear", "stage 2", "software cleaning"],
)
def test_a_call_without_a_dirty_page_allocates_no_plane(doing: Callable[[Machine], object]) -> None:
    made = machine(NPAGES)

    assert held_bytes(made, doing) < 64 * KIB


@pytest.mark.parametrize(
    ("doing", "planes"),
    [
        (lambda made: write(made, (7, 1)), 4),
        (lambda made: read(made, (7, 1)), 3),
        (lambda made: made.perform(HostWrite(pages=ranges((7, 1)))), 1),
        (lambda made: made.perform(GuestRead(pages=ranges((NPAGES + 1, 1)))), 0),
    ],
    ids=["write", "read", "host write", "read of no slot"],
)
def test_the_first_page_brings_the_planes_that_it_needs(
    doing: Callable[[Machine], object], planes: int
) -> None:
    made = machine(NPAGES)

    held = held_bytes(made, doing)

    assert planes * PLANE_BYTES <= held < planes * PLANE_BYTES + 64 * KIB


def test_the_log_of_a_slot_that_no_longer_logs_is_given_back() -> None:
    tracemalloc.start()
    made = machine(NPAGES)
    write(made, (7, 1))
    logging = tracemalloc.get_traced_memory()[0]
    set_log(made, on=False)
    silent = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert logging - silent > PLANE_BYTES - 64 * KIB


def test_a_log_that_begins_write_protects_the_planes_that_are_there() -> None:
    made = machine(64, flags=0)
    write(made, (0, 4))

    set_log(made, on=True)

    assert states(made, 0, 4) == [(0, 4, 3, "writable_clean")]
