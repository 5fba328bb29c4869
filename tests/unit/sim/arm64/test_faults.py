"""When a fault fires, and which faults make no sense."""

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sim.actions import ArmFault, DisarmFault, FaultSpec, FaultType, FaultWhen, LogOp
from app.sim.arm64.faults import ArmedFault, draw
from app.sim.base.errors import KvmError, NoSuchFaultError
from tests.support.building import arm, clear, get, machine, write

if TYPE_CHECKING:
    from app.sim.machine import Machine


def fired(spec: FaultSpec, opportunities: int, seed: int = 0, ordinal: int = 1) -> list[int]:
    """The opportunities at which a fault fires, each counted as a hit."""
    fault = ArmedFault(ordinal, spec, seed)
    at = []
    for number in range(1, opportunities + 1):
        if fault.fires():
            at.append(number)
            fault.hits += 1
    return at


def spec(**rules: Any) -> FaultSpec:
    return FaultSpec(FaultType.UNIT_BUSY, **rules)


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


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**40), st.integers(1, 2**40))
def test_a_draw_is_a_fraction(seed: int, ordinal: int, opportunity: int) -> None:
    assert 0 <= draw(seed, ordinal, opportunity) < 1


def test_a_draw_is_what_the_documentation_says() -> None:
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
    assert made.perform(DisarmFault("f3")).fault_id == "f3"
    assert arm(made, FaultType.IPAF) == "f4"
    assert [view.fault_id for view in made.faults()] == ["f1", "f2", "f4"]
    with pytest.raises(NoSuchFaultError):
        made.fault("f3")
    with pytest.raises(NoSuchFaultError):
        made.perform(DisarmFault("f3"))


def test_a_disarmed_fault_strikes_no_more() -> None:
    made = machine(64)
    fault = arm(made, FaultType.IPAF)
    write(made, (0, 9))
    made.perform(DisarmFault(fault))

    assert get(made).software.ran is False


@pytest.mark.parametrize(
    ("kind", "rules", "code", "field"),
    [
        ("ipaf", {"probability": 1.5}, "senseless_fault", "probability"),
        ("ipaf", {"probability": -0.1}, "senseless_fault", "probability"),
        ("ipaf", {"probability": float("nan")}, "senseless_fault", "probability"),
        ("ipaf", {"after": -1}, "senseless_fault", "after"),
        ("ipaf", {"every": 0}, "senseless_fault", "every"),
        ("ipaf", {"times": 0}, "senseless_fault", "times"),
        ("ipaf", {"batch": -1}, "senseless_fault", "when.batch"),
        ("ipaf", {"slot": -1}, "senseless_fault", "when.slot"),
        ("ipaf", {"index": 512}, "senseless_fault", "when.index"),
        ("ipaf", {"index": -1}, "senseless_fault", "when.index"),
        ("ipaf", {"gfn": 5, "batch": 0}, "senseless_fault", "when.gfn"),
        ("structf", {"gfn": 5, "index": 0}, "senseless_fault", "when.gfn"),
        ("lost_interrupt", {"index": 0}, "senseless_fault", "when.index"),
        ("unit_busy", {"batch": 0}, "senseless_fault", "when.batch"),
        ("entries_enomem", {"gfn": 0}, "senseless_fault", "when.gfn"),
        ("split_enomem", {"index": 0}, "senseless_fault", "when.index"),
        ("copy_to_user", {"gfn": 0}, "senseless_fault", "when.gfn"),
        ("copy_to_user", {"op": LogOp.CLEAR}, "senseless_fault", "when.op"),
        ("ipahacf", {"cpu": 4}, "no_such_cpu", "when.cpu"),
        ("ipahacf", {"cpu": -1}, "no_such_cpu", "when.cpu"),
        ("ipahacf", {"gfn": 1 << 28}, "gfn_beyond_ipa_space", "when.gfn"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(
    kind: str, rules: dict[str, Any], code: str, field: str
) -> None:
    made = machine()

    with pytest.raises(KvmError) as caught:
        arm(made, FaultType(kind), **rules)

    assert (caught.value.code, caught.value.field) == (code, field)
    assert made.faults() == ()


@pytest.mark.parametrize(("page_size", "capacity"), [(16384, 2048), (65536, 8192)])
def test_an_index_may_be_any_of_the_granules_array(page_size: int, capacity: int) -> None:
    made = machine(page_size=page_size)

    arm(made, FaultType.IPAF, index=capacity - 1)

    with pytest.raises(KvmError):
        arm(made, FaultType.IPAF, index=capacity)


def test_a_call_in_flight_keeps_the_faults_it_began_with() -> None:
    made: Machine = machine(64)
    arm(made, FaultType.UNIT_BUSY)
    call = made._faults.call(LogOp.GET, 0, 0)

    made.perform(DisarmFault("f1"))
    made.perform(ArmFault(FaultSpec(FaultType.UNIT_BUSY, when=FaultWhen())))

    assert [fault.fault_id for fault in call.faults] == ["f1"]
