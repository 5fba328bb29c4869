"""Faults that can never hit: the message of each refusal, and the limits that are allowed."""

from typing import Any

import pytest

from hacdbs_sim.model import FaultType, LogOp
from hacdbs_sim.model.errors import KvmError, NoSuchFaultError
from tests.support.building import arm, machine

SENSELESS = "senseless_fault"
INDEX = "when.index must be 0..511, an entry of one array"
CPU = "the VM has 4 host CPUs, so when.cpu must be 0..3"
GFN = "when.gfn must be 0..268435455"

NO_MACHINE_HAS: list[tuple[str, str, str, int, int, str]] = [
    *((SENSELESS, "ipaf", "index", 511, bad, f"{INDEX}, not {bad}") for bad in (-1, 512)),
    *(("no_such_cpu", "ipahacf", "cpu", 3, bad, f"{CPU} (got {bad})") for bad in (-1, 4)),
    *(
        ("gfn_beyond_ipa_space", "ipahacf", "gfn", (1 << 28) - 1, bad, f"{GFN}, not {bad}")
        for bad in (-1, 1 << 28)
    ),
]


def refusal(kind: str, **rules: Any) -> tuple[str, str | None, object, object, str]:
    made = machine(cpus=4)
    with pytest.raises(KvmError) as caught:
        arm(made, FaultType(kind), **rules)
    assert made.faults() == ()
    error = caught.value
    return error.code, error.field, error.bound, error.value, error.detail


@pytest.mark.parametrize("kind", ["structf", "ipaf", "ipahacf"])
@pytest.mark.parametrize("place", ["batch", "index"])
def test_a_frame_and_a_place_in_an_array_are_one_too_many(kind: str, place: str) -> None:
    assert refusal(kind, gfn=5, **{place: 0}) == (
        SENSELESS,
        "when.gfn",
        None,
        5,
        "when.gfn must come without when.batch and when.index: they name one entry",
    )


@pytest.mark.parametrize(("code", "kind", "place", "bound", "bad", "says"), NO_MACHINE_HAS)
def test_a_place_that_this_machine_has_not_is_refused(  # noqa: PLR0917 - columns of a table
    code: str, kind: str, place: str, bound: int, bad: int, says: str
) -> None:
    assert refusal(kind, **{place: bad}) == (
        code,
        f"when.{place}",
        bound,
        bad,
        says,
    )


@pytest.mark.parametrize(
    ("kind", "rules"),
    [
        ("ipaf", {"probability": 0.0}),
        ("ipaf", {"probability": 1.0}),
        ("ipaf", {"after": 0, "every": 1, "times": 1}),
        ("ipaf", {"batch": 0, "index": 0, "slot": 0, "cpu": 0}),
        ("ipaf", {"index": 511, "cpu": 3}),
        ("structf", {"gfn": 0}),
        ("ipahacf", {"gfn": (1 << 28) - 1}),
        ("split_enomem", {"gfn": 0}),
        ("lost_interrupt", {"batch": 0}),
        ("copy_to_user", {"op": LogOp.GET}),
        ("unit_busy", {"op": LogOp.CLEAR}),
    ],
)
def test_a_fault_at_the_edge_of_sense_is_armed(kind: str, rules: dict[str, Any]) -> None:
    made = machine(cpus=4)

    assert arm(made, FaultType(kind), **rules) == "f1"


@pytest.mark.parametrize(("page_size", "capacity"), [(16384, 2048), (65536, 8192)])
def test_an_index_may_be_any_of_the_granules_array(page_size: int, capacity: int) -> None:
    made = machine(page_size=page_size)

    arm(made, FaultType.IPAF, index=capacity - 1)

    with pytest.raises(KvmError) as caught:
        arm(made, FaultType.IPAF, index=capacity)
    assert caught.value.bound == capacity - 1


def test_a_fault_that_was_never_armed_is_named_in_the_refusal() -> None:
    with pytest.raises(NoSuchFaultError) as caught:
        machine().fault("f7")

    refused = caught.value
    assert (refused.field, refused.bound, refused.value) == ("fault_id", None, "f7")
    assert refused.detail == "fault f7 does not exist"
