"""When a fault fires, and what is remembered of it."""

import math
from collections import Counter
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model import (
    AddFault,
    AddIpaf,
    AddUnitBusy,
    DeleteFault,
    EntryWhen,
    FaultInfo,
    FaultType,
    LastHit,
    LogOp,
    SetMemslot,
    known,
)
from hacdbs_sim.model.errors import NoSuchFaultError
from hacdbs_sim.sim.arm64.faults import (
    ENTRY_FAULTS,
    ArmedFault,
    FaultBoard,
    FaultBounds,
    FaultCall,
    draw,
)
from tests.support.building import LOG, arm, clear, get, machine, write
from tests.support.faults import fault

if TYPE_CHECKING:
    from tests.support.machine import Machine


def fired(spec: AddUnitBusy, opportunities: int, seed: int = 0, ordinal: int = 1) -> list[int]:
    """The opportunities at which a fault fires, each counted as a hit."""
    fault = ArmedFault(ordinal, spec, seed, Counter())
    at = []
    for number in range(1, opportunities + 1):
        if fault.fires():
            at.append(number)
            fault.hits += 1
    return at


def spec(**rules: Any) -> AddUnitBusy:
    return AddUnitBusy(**rules)


def test_the_first_after_are_skipped_then_each_everyth_counts_until_times_are_spent() -> None:
    assert fired(spec(), 4) == [1, 2, 3, 4]
    assert fired(spec(after=2), 5) == [3, 4, 5]
    assert fired(spec(every=3), 8) == [1, 4, 7]
    assert fired(spec(after=1, every=2, times=2), 9) == [2, 4]


def test_probability_zero_never_fires_and_one_always_does() -> None:
    assert fired(spec(probability=0.0), 500) == []
    assert fired(spec(probability=1.0), 500) == list(range(1, 501))


def test_a_probability_is_met_in_the_long_run_and_the_same_seed_repeats() -> None:
    hits = fired(spec(probability=0.25), 4000, seed=7)

    assert 850 < len(hits) < 1150
    assert hits == fired(spec(probability=0.25), 4000, seed=7)
    assert hits != fired(spec(probability=0.25), 4000, seed=8)
    assert hits != fired(spec(probability=0.25), 4000, seed=7, ordinal=2)


def test_a_fault_fires_below_its_probability_and_not_at_it() -> None:
    at = draw(7, 1, 1)

    assert fired(spec(probability=at), 1, seed=7) == []
    assert fired(spec(probability=math.nextafter(at, 1)), 1, seed=7) == [1]


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**40), st.integers(1, 2**40))
def test_a_draw_is_a_fraction(seed: int, ordinal: int, opportunity: int) -> None:
    assert 0 <= draw(seed, ordinal, opportunity) < 1


def test_a_draw_equals_the_documented_one() -> None:
    """Worked out step by step here, by the formula of the module's docstring."""
    mask = 2**64 - 1

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    h = mix(42)
    for x in (3, 17):
        h = mix((h + 0x9E3779B97F4A7C15 * (x + 1)) & mask)
    assert draw(42, 3, 17) == (h >> 11) / 2**53


def test_only_calls_that_match_are_opportunities() -> None:
    made = machine(64, cpus=2)
    for_clear = arm(made, FaultType.UNIT_BUSY, op=LogOp.CLEAR)
    for_cpu = arm(made, FaultType.UNIT_BUSY, cpu=1)
    for_slot = arm(made, FaultType.UNIT_BUSY, slot=3)
    off = arm(made, FaultType.UNIT_BUSY, enabled=False)

    get(made)  # cpu 0
    get(made)  # cpu 1
    clear(made)  # cpu 0

    assert [made.fault(f).opportunities for f in (for_clear, for_cpu, for_slot, off)] == [
        1,
        1,
        0,
        0,
    ]


def test_faults_are_numbered_by_arming_and_never_reused() -> None:
    made = machine()

    assert [arm(made, FaultType.UNIT_BUSY) for _ in range(3)] == ["f1", "f2", "f3"]
    assert made.perform(DeleteFault(fault_id="f3")).fault_id == "f3"
    assert arm(made, FaultType.IPAF) == "f4"
    assert [view.fault_id for view in made.faults()] == ["f1", "f2", "f4"]
    with pytest.raises(NoSuchFaultError):
        made.fault("f3")
    with pytest.raises(NoSuchFaultError):
        made.perform(DeleteFault(fault_id="f3"))


def test_a_view_has_the_fault_as_armed_and_no_hit_before_the_first() -> None:
    made = machine(64)
    when = EntryWhen(slot=0, index=3)

    view = made.perform(AddIpaf(after=2, when=when))

    assert (
        view
        == made.fault("f1")
        == FaultInfo(
            fault_id="f1",
            type=FaultType.IPAF,
            after=2,
            when=when,
            opportunities=0,
            hits=0,
            last_hit=None,
        )
    )


def test_a_hit_is_remembered_by_its_call_and_its_place() -> None:
    made = machine(64, base_gfn=1000, cpus=4)
    made.perform(SetMemslot(slot=6, guest_phys_addr=0, memory_size=64 * 4096, flags=LOG))
    busy = arm(made, FaultType.UNIT_BUSY, slot=0)
    entry = arm(made, FaultType.IPAF, slot=6, gfn=9)
    write(made, (0, 64))

    get(made, cpu=2)
    clear(made, (3, 20), slot=6, cpu=3)

    assert made.fault(busy).last_hit == LastHit(
        opportunity=1, op=LogOp.GET, slot=0, cpu=2, batch=None, index=None, gfn=None
    )
    assert made.fault(entry).last_hit == LastHit(
        opportunity=1, op=LogOp.CLEAR, slot=6, cpu=3, batch=0, index=6, gfn=9
    )


def test_hits_are_counted_by_type_and_outlive_their_fault() -> None:
    made = machine(64)
    assert made.fault_hits() == {}
    busy, other = arm(made, FaultType.UNIT_BUSY, times=2), arm(made, FaultType.UNIT_BUSY, after=2)
    arm(made, FaultType.ENTRIES_ENOMEM, after=0, times=1)

    for _ in range(3):
        get(made)  # the third: the first fault is spent, the second one begins
    made.perform(DeleteFault(fault_id=busy))
    made.perform(DeleteFault(fault_id=other))
    get(made)

    assert made.fault_hits() == {FaultType.UNIT_BUSY: 3, FaultType.ENTRIES_ENOMEM: 1}


def test_a_disarmed_fault_strikes_no_more() -> None:
    made = machine(64)
    fault = arm(made, FaultType.IPAF)
    write(made, (0, 9))
    made.perform(DeleteFault(fault_id=fault))

    assert known(get(made).software).ran is False


def test_a_call_in_flight_keeps_the_faults_it_began_with() -> None:
    made: Machine = machine(64)
    arm(made, FaultType.UNIT_BUSY)
    call = FaultCall(LogOp.GET, 0, 0, made._faults.armed())

    made.perform(DeleteFault(fault_id="f1"))
    made.perform(AddUnitBusy())

    assert [fault.fault_id for fault in call.firing(FaultType.UNIT_BUSY)] == ["f1"]


@pytest.mark.parametrize("seed", range(8))
def test_the_faults_of_a_call_are_those_that_a_walk_finds(seed: int) -> None:
    random = Random(seed)
    board = FaultBoard(seed, FaultBounds(cpus=4, end_gfn=1 << 28, entries_per_array=512))
    armed: dict[str, AddFault] = {}
    for _ in range(200):
        if armed and random.random() < 0.4:
            gone = random.choice(list(armed))
            board.disarm(gone)
            del armed[gone]
            continue
        kind = random.choice([FaultType.IPAF, FaultType.STRUCTF, FaultType.UNIT_BUSY])
        place: dict[str, Any] = {
            "op": random.choice([None, *LogOp]),
            "slot": random.choice([None, 0, 1]),
            "cpu": random.choice([None, 0, 1]),
        }
        made = fault(kind, enabled=random.random() < 0.8, when=place)
        armed[board.arm(made).fault_id] = made

    for op, slot, cpu in product(LogOp, (0, 1, 2), (0, 1, None)):
        walked = [
            (fault_id, made.type)
            for fault_id, made in armed.items()
            if made.enabled
            and made.when.op in (None, op)
            and made.when.slot in (None, slot)
            and made.when.cpu in (None, cpu)
        ]
        call = FaultCall(op, slot, cpu, board.armed())
        for types in ((FaultType.UNIT_BUSY,), ENTRY_FAULTS):
            firing = [each.fault_id for each in call.firing(*types)]
            assert firing == [fault_id for fault_id, kind in walked if kind in types]
        assert call.has_faults is bool(walked)
