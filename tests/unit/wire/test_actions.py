"""Actions by their `op`, in a batch and elsewhere."""

from typing import Any

import orjson
import pytest

from hacdbs_sim.model.base import Action
from hacdbs_sim.model.batches import Batch, BatchAction, LogFormat
from hacdbs_sim.model.dirty_log import GetDirtyLog
from hacdbs_sim.model.faults import AddStructf, FaultInfo
from hacdbs_sim.model.guest import Clock
from hacdbs_sim.model.operations import ACTIONS, QUERIES
from hacdbs_sim.wire import (
    InvalidRequestError,
    action_to_plain,
    read,
    reader_of,
    write,
)
from tests.unit.wire.instances import outcome_of

BATCH: dict[str, Any] = {
    "actions": [
        {"op": "guest_write", "gfns": [1, 2]},
        {"op": "get_dirty_log", "slot": 0, "format": "words", "trace": True},
        {"op": "get_dirty_log", "slot": 0},
        {"op": "add_fault", "type": "structf", "when": {"gfn": 9}},
        {"op": "add_workload", "kind": "uniform", "slot": 0, "writes_per_second": 5},
        {"op": "set_cpu", "cpu": 1, "online": False},
    ]
}


def refused(body: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequestError) as refusal:
        read(Batch, orjson.dumps(body))
    return [(error.pointer, error.detail) for error in refusal.value.errors]


def test_a_batch_has_actions_and_the_format_of_each_get() -> None:
    actions = read(Batch, orjson.dumps(BATCH)).actions

    assert [each.action.op for each in actions] == [each["op"] for each in BATCH["actions"]]
    assert [each.format for each in actions[1:3]] == [LogFormat.WORDS, LogFormat.RANGES]
    assert actions[1] == BatchAction(action=GetDirtyLog(slot=0, trace=True), format=LogFormat.WORDS)


def test_a_batch_is_written_as_it_is_read() -> None:
    batch = read(Batch, orjson.dumps(BATCH))

    again = read(Batch, write(batch))

    assert write(again) == write(batch)
    assert [each.format for each in again.actions] == [each.format for each in batch.actions]


@pytest.mark.parametrize(
    ("action", "pointer"),
    [
        ({"op": "get_dirty_log", "slot": 0, "format": "octets"}, "/actions/0/format"),
        ({"op": "clear_dirty_log", "slot": 0, "page_ranges": [], "format": "ranges"},
         "/actions/0/format"),
        ({"op": "clear_dirty_log", "slot": 0}, "/actions/0"),
        ({"op": "clear_dirty_log", "slot": 0, "bitmap": "AAAA"}, "/actions/0"),
        ({"op": "guest_write", "gfns": [1, -1]}, "/actions/0/gfns/1"),
        ({"op": "guest_write", "gfns": [1], "guest_read": 1}, "/actions/0/guest_read"),
        ({"op": "add_fault", "type": "structf", "when": {"gfn": -1}}, "/actions/0/when/gfn"),
        ({"op": "add_fault", "type": "nope"}, "/actions/0/type"),
        ({"op": "get_memslot", "slot": 0}, "/actions/0/op"),
        ({}, "/actions/0/op"),
    ],
)  # fmt: skip
def test_a_refused_action_has_its_place(action: dict[str, Any], pointer: str) -> None:
    assert [at for at, _ in refused({"actions": [action]})] == [pointer]


def test_only_a_batch_has_formats() -> None:
    with pytest.raises(InvalidRequestError):
        reader_of(Action)(b'{"op": "get_dirty_log", "slot": 0, "format": "ranges"}')


def test_the_length_of_a_batch_is_bounded() -> None:
    action = {"op": "delete_memslot", "slot": 0}

    ((pointer, _),) = refused({"actions": [action] * 10_001})

    assert pointer == "/actions"


def test_an_op_is_added_and_removed() -> None:
    action = reader_of(Action)(b'{"op": "add_fault", "type": "structf"}')

    assert action == AddStructf()
    assert action_to_plain(action)["op"] == "add_fault"


def test_every_operation_declares_its_outcome() -> None:
    assert outcome_of(AddStructf) is FaultInfo
    assert outcome_of(next(query for query in QUERIES if query.op == "get_clock")) is Clock
    for operation in (*ACTIONS, *QUERIES):
        outcome_of(operation)
