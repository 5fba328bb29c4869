"""Writes of one page each, performed at once, come to what they come to one by one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.service.budget import StateBudget
from app.service.limits import Limits
from app.service.page_writes import write_each
from app.service.totals import Totals
from app.service.vm_runtime import VmRuntime
from hacdbs_sim.sim.machine import Machine
from hacdbs_sim.model import ClearDirtyLog, GetDirtyLog, Gfns, GuestRead, GuestWrite, HostWrite, PageRanges, SetMemslot, TrackVersions, VmConfig

BASE = 0x1000
PAGES = 200
MIB = 1 << 20
LOGS, READONLY = 1, 2


def runtime(*, flags: int = LOGS, backing: int = 4096, **config: Any) -> VmRuntime:
    machine = Machine(VmConfig(**config))
    machine.perform(SetMemslot(slot=0, guest_phys_addr=BASE << 12, memory_size=PAGES << 12, flags=flags, backing=backing))
    limits = Limits()
    return VmRuntime(machine, limits, StateBudget(limits.max_state_bytes), Totals())


def gfns(pages: list[int]) -> Gfns:
    return Gfns(np.array([BASE + page for page in pages], np.uint64))


def sight(machine: Machine) -> Any:
    log = machine.peek_dirty_log(0)
    assert log.bitmap is not None
    return (
        log.bitmap.tolist(),
        machine.stage2(BASE, PAGES, PAGES),
        machine.counters(),
        machine.memslot(0),
    )


pages = st.lists(st.integers(0, PAGES - 1), max_size=30)
earlier = st.lists(
    st.one_of(
        pages.map(lambda given: GuestWrite(pages=gfns(given))),
        pages.map(lambda given: GuestRead(pages=gfns(given))),
        pages.map(lambda given: HostWrite(pages=gfns(given))),
        st.just(GetDirtyLog(slot=0)),
        st.just(ClearDirtyLog(slot=0, pages=PageRanges(np.array([64], np.uint64), np.array([70], np.uint64)))),
    ),
    max_size=6,
)


@given(
    earlier=earlier,
    written=st.lists(st.integers(0, PAGES - 1), min_size=1, max_size=60),
    protect=st.sampled_from([0, 1, 3]),
    dbm=st.booleans(),
)
def test_writes_at_once_are_told_as_one_by_one(
    earlier: list[Any], written: list[int], protect: int, *, dbm: bool
) -> None:
    at_once, in_turn = (runtime(manual_dirty_log_protect2=protect, dbm=dbm) for _ in range(2))
    for action in earlier:
        at_once.perform(action)
        in_turn.perform(action)

    told = write_each(at_once, gfns(written).gfns)

    assert told == [in_turn.perform(GuestWrite(pages=gfns([page]))) for page in written]
    assert sight(at_once.machine) == sight(in_turn.machine)


def test_a_block_that_has_gone_is_none() -> None:
    made = runtime(flags=0, backing=2 * MIB)  # shorter than a block, so it has none to map
    made.perform(GuestWrite(pages=gfns([0])))
    made.perform(SetMemslot(slot=0, guest_phys_addr=BASE << 12, memory_size=PAGES << 12, flags=LOGS, backing=2 * MIB))

    assert write_each(made, gfns([0, 1]).gfns) is not None


def with_block() -> VmRuntime:
    made = runtime()
    made.perform(SetMemslot(slot=1, guest_phys_addr=1 << 30, memory_size=4 * MIB, backing=2 * MIB))
    made.perform(GuestWrite(pages=Gfns(np.array([1 << 18], np.uint64))))
    made.perform(SetMemslot(slot=1, guest_phys_addr=1 << 30, memory_size=4 * MIB, flags=LOGS, backing=2 * MIB))
    return made


def with_versions() -> VmRuntime:
    made = runtime()
    made.perform(TrackVersions(enabled=True))
    return made


@pytest.mark.parametrize(
    ("made", "frames"),
    [
        (runtime(), [BASE, BASE + PAGES]),
        (runtime(), [BASE - 1]),
        (runtime(), [BASE, 1 << 50]),
        (runtime(flags=0), [BASE]),
        (runtime(flags=READONLY), [BASE]),
        (runtime(flags=READONLY | LOGS), [BASE]),
        (with_block(), [(1 << 18) + 1]),
        (with_versions(), [BASE]),
    ],
    ids=["past", "before", "beyond", "silent", "readonly", "both", "block", "versions"],
)
def test_writes_that_could_do_more_are_left_alone(made: VmRuntime, frames: list[int]) -> None:
    before = sight(made.machine) if made.machine.memslot(0).dirty_count is not None else None

    assert write_each(made, np.array(frames, np.uint64)) is None

    assert before is None or sight(made.machine) == before
