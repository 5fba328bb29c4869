"""Each bound of a request that the core no longer checks: place, bound and value of the refusal."""

import json
from dataclasses import fields
from typing import Any

import pytest

from hacdbs_sim.model import (
    AddFault,
    AddWorkload,
    Batch,
    CostModel,
    CreateVm,
    FaultType,
    StartMigration,
)
from hacdbs_sim.model.faults import FAULTS, when_class
from hacdbs_sim.model.kinds import MAX_JSON_INTEGER
from hacdbs_sim.wire import InvalidRequestError, MalformedBodyError, read

Refusal = tuple[str, Any, Any]
COUNT = f"0..{MAX_JSON_INTEGER}"
POSITIVE = f"1..{MAX_JSON_INTEGER}"
DURATION = "1..1000000000000000"
TIMED = {"slot": 0, "kind": "uniform", "writes_per_second": 1_000}
HOT_SET = {**TIMED, "kind": "hot_set"}
ZIPF = {**TIMED, "kind": "zipf"}
MOVING = {**TIMED, "kind": "moving", "set_pages": 4, "move_every_writes": 1}
REPLAY = {"slot": 0, "kind": "replay", "trace": "xz", "interval_ns": 1_000}
BURST = {"on_ns": 1, "off_ns": 0}
MIGRATION = {"vm_id": "default-1"}
FAULT_PLACES = {
    "structf": {"op", "slot", "cpu", "batch", "index", "gfn"},
    "ipaf": {"op", "slot", "cpu", "batch", "index", "gfn"},
    "ipahacf": {"op", "slot", "cpu", "batch", "index", "gfn"},
    "lost_interrupt": {"op", "slot", "cpu", "batch"},
    "unit_busy": {"op", "slot", "cpu"},
    "entries_enomem": {"op", "slot", "cpu"},
    "split_enomem": {"op", "slot", "cpu", "gfn"},
    "copy_to_user": {"op", "slot", "cpu"},
}
KNOBS = [knob.name for knob in fields(CostModel)]


def refusals(cls: type[Any], body: dict[str, Any]) -> list[Refusal]:
    with pytest.raises(InvalidRequestError) as refused:
        read(cls, json.dumps(body))
    assert all(error.in_ == "body" and error.detail for error in refused.value.errors)
    return [(error.pointer, error.bound, error.value) for error in refused.value.errors]


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({"probability": 1.5}, ("/probability", 1, 1.5)),
        ({"probability": -0.1}, ("/probability", 0, -0.1)),
        ({"after": -1}, ("/after", COUNT, -1)),
        ({"every": 0}, ("/every", POSITIVE, 0)),
        ({"times": 0}, ("/times", POSITIVE, 0)),
        ({"when": {"batch": -1}}, ("/when/batch", COUNT, -1)),
        ({"when": {"slot": -1}}, ("/when/slot", "0..32766", -1)),
        ({"when": {"slot": 32_767}}, ("/when/slot", "0..32766", 32_767)),
        ({"when": {"cpu": -1}}, ("/when/cpu", COUNT, -1)),
        ({"when": {"index": -1}}, ("/when/index", COUNT, -1)),
        ({"when": {"gfn": -1}}, ("/when/gfn", COUNT, -1)),
        ({"when": {"gfn": 1, "batch": 0}}, ("/when", "gfn, batch", None)),
        ({"when": {"gfn": 1, "index": 0}}, ("/when", "gfn, index", None)),
    ],
)
def test_a_fault_has_its_bounds(given: dict[str, Any], refusal: Refusal) -> None:
    assert refusals(AddFault, {"type": "ipaf", **given}) == [refusal]


def test_a_probability_that_is_no_number_is_not_json() -> None:
    with pytest.raises(MalformedBodyError):
        read(AddFault, '{"type": "ipaf", "probability": NaN}')


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("place", ["op", "slot", "cpu", "batch", "index", "gfn"])
def test_a_fault_has_the_places_of_its_type_and_no_other(kind: FaultType, place: str) -> None:
    value: Any = "get" if place == "op" else 0
    body = {"type": kind.value, "when": {place: value}}

    if place in FAULT_PLACES[kind]:
        assert getattr(read(AddFault, json.dumps(body)).when, place) == value
    else:
        assert refusals(AddFault, body) == [(f"/when/{place}", None, value)]
    assert FAULT_PLACES[kind] == {field.name for field in fields(when_class(kind))}


def test_a_copy_to_userspace_is_of_a_get() -> None:
    body = {"type": "copy_to_user", "when": {"op": "clear"}}

    assert refusals(AddFault, body) == [("/when/op", "get", "clear")]


@pytest.mark.parametrize("value", [-1, 10**12 + 1])
@pytest.mark.parametrize("knob", KNOBS)
def test_a_cost_is_at_most_a_second(knob: str, value: int) -> None:
    body = {"costs": {knob: value}}

    assert refusals(CreateVm, body) == [(f"/costs/{knob}", "0..1000000000000", value)]


def test_each_knob_takes_both_its_bounds() -> None:
    assert len(KNOBS) == 17
    for value in (0, 10**12):
        costs = read(CreateVm, json.dumps({"costs": dict.fromkeys(KNOBS, value)})).costs
        assert {getattr(costs, knob) for knob in KNOBS} == {value}


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({**HOT_SET, "hot_fraction": 1.5}, ("/hot_fraction", 1, 1.5)),
        ({**HOT_SET, "hot_share": -0.1}, ("/hot_share", 0, -0.1)),
        ({**ZIPF, "exponent": 0.0}, ("/exponent", 0.01, 0.0)),
        ({**ZIPF, "exponent": 10.5}, ("/exponent", 10, 10.5)),
        ({**MOVING, "move_every_writes": 0}, ("/move_every_writes", POSITIVE, 0)),
        ({**MOVING, "set_pages": 0}, ("/set_pages", POSITIVE, 0)),
        ({**MOVING, "step_pages": 0}, ("/step_pages", POSITIVE, 0)),
        ({**REPLAY, "interval_ns": 0}, ("/interval_ns", DURATION, 0)),
        ({**REPLAY, "interval_ns": 10**15 + 1}, ("/interval_ns", DURATION, 10**15 + 1)),
        ({**REPLAY, "copies": 0}, ("/copies", "1..4096", 0)),
        ({**REPLAY, "copies": 4097}, ("/copies", "1..4096", 4097)),
        ({**REPLAY, "writes_per_second": 1}, ("/writes_per_second", None, 1)),
        ({**TIMED, "writes_per_second": 0}, ("/writes_per_second", "1..1000000000", 0)),
        (
            {**TIMED, "writes_per_second": 10**9 + 1},
            ("/writes_per_second", "1..1000000000", 10**9 + 1),
        ),
        ({"slot": 0, "kind": "uniform"}, ("/writes_per_second", None, None)),
        ({**TIMED, "seed": -1}, ("/seed", COUNT, -1)),
        ({**TIMED, "seed": 1 << 64}, ("/seed", COUNT, str(1 << 64))),
        ({**TIMED, "slot": -1}, ("/slot", "0..32766", -1)),
        ({**TIMED, "first_page": -1}, ("/first_page", COUNT, -1)),
        ({**TIMED, "num_pages": 0}, ("/num_pages", POSITIVE, 0)),
        ({**TIMED, "vcpu": -1}, ("/vcpu", COUNT, -1)),
        ({**TIMED, "burst": {**BURST, "on_ns": 0}}, ("/burst/on_ns", DURATION, 0)),
        (
            {**TIMED, "burst": {**BURST, "on_ns": 10**15 + 1}},
            ("/burst/on_ns", DURATION, 10**15 + 1),
        ),
        ({**TIMED, "burst": {**BURST, "off_ns": -1}}, ("/burst/off_ns", f"0..{10**15}", -1)),
        (
            {**TIMED, "burst": {**BURST, "off_ns": 10**15 + 1}},
            ("/burst/off_ns", f"0..{10**15}", 10**15 + 1),
        ),
    ],
)
def test_a_workload_has_its_bounds(body: dict[str, Any], refusal: Refusal) -> None:
    assert refusals(AddWorkload, body) == [refusal]


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        (
            {"bandwidth_bytes_per_second": 999_999},
            ("/bandwidth_bytes_per_second", f"1000000..{10**13}", 999_999),
        ),
        (
            {"bandwidth_bytes_per_second": 10**13 + 1},
            ("/bandwidth_bytes_per_second", f"1000000..{10**13}", 10**13 + 1),
        ),
        ({"downtime_limit_ns": -1}, ("/downtime_limit_ns", f"0..{10**15}", -1)),
        ({"max_iterations": 0}, ("/max_iterations", "1..1000", 0)),
        ({"max_iterations": 1_001}, ("/max_iterations", "1..1000", 1_001)),
        ({"timeout_ns": 0}, ("/timeout_ns", DURATION, 0)),
        (
            {"clear_chunk_pages": 0},
            ("/clear_chunk_pages", f"64..{1 << 31}, multiples of 64", 0),
        ),
        (
            {"clear_chunk_pages": 65},
            ("/clear_chunk_pages", f"64..{1 << 31}, multiples of 64", 65),
        ),
        ({"auto_converge": {"max": 100}}, ("/auto_converge/max", "1..99", 100)),
        ({"auto_converge": {"initial": 0}}, ("/auto_converge/initial", "1..99", 0)),
        ({"auto_converge": {"increment": 0}}, ("/auto_converge/increment", "1..99", 0)),
        (
            {"auto_converge": {"trigger_threshold": 101}},
            ("/auto_converge/trigger_threshold", "1..100", 101),
        ),
        ({"slots": []}, ("/slots", 1, 0)),
        ({"slots": [32_767]}, ("/slots/0", "0..32766", 32_767)),
        ({"pace_ms": 10_001}, ("/pace_ms", "0..10000", 10_001)),
    ],
)
def test_a_migration_has_its_bounds(given: dict[str, Any], refusal: Refusal) -> None:
    assert refusals(StartMigration, {**MIGRATION, **given}) == [refusal]


def test_a_schedule_has_a_thousand_entries_at_most() -> None:
    entry = {"iteration": 0, "action": {"op": "delete_faults"}}

    assert len(
        read(StartMigration, json.dumps({**MIGRATION, "schedule": [entry] * 1_000})).schedule
    )
    assert refusals(StartMigration, {**MIGRATION, "schedule": [entry] * 1_001}) == [
        ("/schedule", 1_000, 1_001)
    ]
    late = {**entry, "iteration": 1_001}
    assert refusals(StartMigration, {**MIGRATION, "schedule": [late]}) == [
        ("/schedule/0/iteration", "0..1000", 1_001)
    ]


def test_a_list_is_refused_in_words_of_json_and_once() -> None:
    with pytest.raises(InvalidRequestError) as too_long:
        read(StartMigration, json.dumps({**MIGRATION, "slots": [0] * 32_768}))
    with pytest.raises(InvalidRequestError) as too_short:
        read(StartMigration, json.dumps({**MIGRATION, "slots": []}))

    assert too_long.value.detail == "/slots: length must be at most 32767"
    assert too_short.value.detail == "/slots: length must be at least 1"
    assert refusals(StartMigration, {**MIGRATION, "slots": ["0"]}) == [
        ("/slots/0", "0..32766", "0")
    ]


def test_an_internal_action_is_none_of_a_batch_or_a_schedule() -> None:
    action = {"op": "need_versions", "needed": True}

    for cls, body, pointer in (
        (Batch, {"actions": [action]}, "/actions/0/op"),
        (
            StartMigration,
            {**MIGRATION, "schedule": [{"iteration": 0, "action": action}]},
            "/schedule/0/action/op",
        ),
    ):
        ((found, bound, _),) = refusals(cls, body)
        assert found == pointer
        assert "run_guest" in bound.split(", ")
        assert "need_versions" not in bound
