"""A long request is read piece by piece, and means what it means read at once."""

import json
from typing import Any

import pytest

from hacdbs_sim import model
from hacdbs_sim.wire import (
    InvalidRequestError,
    MalformedBodyError,
    Reader,
    body_class,
    cutting,
    long_json,
    long_text,
    reader,
    reader_of,
    write,
)

PIECE = 20
MANY = list(range(100))
PAIRS = [[number, 1] for number in range(0, 200, 2)]
WORDS = "AAAAAAAAAAA="
SLOTS = [{"slot": n, "guest_phys_addr": n << 20, "memory_size": 4096} for n in range(100)]
INTERVALS = {"slot": 0, "kind": "intervals", "interval_ns": 3}
WRITE = {"op": "guest_write"}
WRITE_BODY = body_class(model.GuestWrite, without=frozenset({"vcpu"}))
CLEAR_BODY = body_class(model.ClearDirtyLog, without=frozenset({"slot"}))
MEMSLOT_BODY = body_class(model.SetMemslot, without=frozenset({"slot"}))


def batch(*actions: Any) -> tuple[Any, Any]:
    return model.Batch, {"actions": [*actions]}


def made(**given: Any) -> tuple[Any, Any]:
    return model.CreateVm, given


TAKEN: tuple[tuple[Any, Any], ...] = (
    batch({**WRITE, "gfns": MANY}, {"op": "set_cpu", "cpu": 1, "online": True}),
    batch({"op": "get_dirty_log", "slot": 0, "format": "base64"}, {"op": "delete_faults"}),
    batch({"op": "add_fault", "type": "ipaf", "when": {"slot": 3, "op": "get"}, "every": 7}),
    batch({"vcpu": 0, "gfn_ranges": PAIRS, "op": "guest_write", "gfns": None}),
    batch({**WRITE, "gfns": [f"0x{number:x}" for number in MANY]}),
    batch({"op": "clear_dirty_log", "slot": 0, "bitmap": "AAAAAAAA" * 40}),
    batch({"op": "guest_write_memory", "gpa_ranges": PAIRS, "vcpu": 0}),
    batch({"op": "add_workload", **INTERVALS, "pages": [[1, 2, 3], [], MANY, [4]]}),
    batch(*[{"op": "delete_faults"}] * 100),
    batch(),
    made(memslots=SLOTS, faults=[{"type": "ipaf"}, {"type": "unit_busy"}] * 9, name="x"),
    made(workloads=[{"slot": 0, "kind": "uniform", "writes_per_second": 100}] * 3),
    made(workloads=[{**INTERVALS, "pages": [[1, 2, 3], [], MANY, [4]]}]),
    made(features={"dbm": True, "hacdbs": False}, cpus=3, seed=12345678, ipa_bits=44),
    (
        model.Scenario,
        {
            "scenario": "one",
            "vms": [{"key": "x", "memslots": SLOTS[:9]}],
            "steps": [
                {
                    "vm": "x",
                    "action": {**WRITE, "gfns": MANY},
                    "expect": {"body": {"a": [1, 2, 3] * 9}},
                }
            ],
            "expect": {"a": MANY, "status": "completed"},
            "migration": {
                "vm": "x",
                "schedule": [{"at": {"ns": 5}, "set": {"command": "switch_over"}}],
            },
        },
    ),
    (model.AddWorkload, {**INTERVALS, "pages": [[1, 2, 3], [], MANY, [4]]}),
    (model.VerifyCopy, {"pending": [{"slot": 0, "page_ranges": PAIRS}] * 20}),
    (model.ReceivePages, {"slot": 0, "bitmap": "AAAAAAAA" * 40}),
    (
        model.StartComparison,
        {
            "vm": {"memslots": SLOTS},
            "variants": [{"name": "a", "faults": [{"type": "ipaf"}] * 9}],
            "migration": {"max_iterations": 3, "slots": MANY},
        },
    ),
    (model.GuestWriteMemory, {"gpa_ranges": PAIRS}),
    (CLEAR_BODY, {"page_ranges": PAIRS, "first_page": 64, "trace": True}),
    (MEMSLOT_BODY, {"guest_phys_addr": "0x40000000", "memory_size": "4MiB", "flags": []}),
)

REFUSED: tuple[tuple[Any, Any], ...] = (
    batch({**WRITE, "gfns": [*MANY, -1]}),
    batch({**WRITE, "gfns": ["0x1,2"] * 100}),
    batch({**WRITE, "gfns": {"a": MANY}}),
    batch({**WRITE, "gfns": [1, [[MANY]]]}),
    batch({**WRITE, "gfn_ranges": [[1, 1], {"a": MANY}]}),
    batch({**WRITE, "gfns": MANY, "gfn_ranges": [[1, 2]]}),
    batch({**WRITE, "gfns": MANY, "foo": MANY}),
    batch({**WRITE, "gfns": MANY, "vcpu": -1}),
    batch({**WRITE, "gfn_ranges": [*PAIRS, [1, 0]]}),
    batch({"op": "clear_dirty_log", "slot": 0, "bitmap": WORDS * 40}),
    batch({"op": "clear_dirty_log", "slot": 0, "bitmap": "AAAA" * 31}),
    batch({"op": "clear_dirty_log", "slot": 0, "bitmap": MANY}),
    batch({"op": "clear_dirty_log", "bitmap": "AAAAAAAA" * 40}),
    batch({"op": "get_dirty_log", "slot": 0, "pages": MANY}),
    batch({"op": "nope", "gfns": MANY}),
    batch({"gfns": MANY}),
    batch({"op": "add_fault", "foo": MANY}),
    batch({"op": "add_fault", "type": "ipaf", "foo": MANY}),
    batch(3, {"op": "delete_faults"}),
    batch(MANY),
    batch("x" * 100),
    batch(*[{"op": "delete_faults"}] * 10_001),
    (model.Batch, {"actions": {"a": MANY}}),
    (model.Batch, {"actions": [], "more": "x" * 100}),
    (model.Batch, MANY),
    (model.Batch, "x" * 100),
    made(memslots=[*SLOTS, {"slot": -1}]),
    made(memslots="x" * 100),
    made(memslots={"a": MANY}),
    made(memslots=None),
    made(name="x" * 1_000),
    made(name=MANY),
    made(cpus={"a": MANY}),
    made(costs={"dirty_page_ps": 3, "x": 0}),
    made(workloads=[{**INTERVALS, "pages": [[1, 2, 3], [], [*MANY, -1], [4]]}]),
    made(workloads=[{**INTERVALS, "pages": [[1, 2, 3], {"a": MANY}]}]),
    made(workloads=[{**INTERVALS, "kind": "nope", "pages": [MANY]}]),
    made(workloads=[{**INTERVALS, "pages": [[1, 2, [MANY]]]}]),
    (model.Scenario, {"scenario": "a", "vms": []}),
    (model.AddWorkload, {**INTERVALS, "pages": []}),
    (model.AddWorkload, {**INTERVALS, "pages": "x" * 100}),
    (model.AddWorkload, {**INTERVALS, "pages": [[]] * 65_537}),
    (model.GuestWriteMemory, {"gpa_ranges": [*PAIRS, [3, 0]]}),
    (model.GuestWriteMemory, {"gpa_ranges": []}),
    (WRITE_BODY, {"gfns": ["0x1,2"] * 100}),
    (MEMSLOT_BODY, {"guest_phys_addr": "0x" + "0" * 60, "memory_size": 4096}),
)

MALFORMED = (
    b'{"actions":[{"op":"delete_faults"},]}',
    b'{"actions":[{"op":"delete_faults"}]} x',
    b'{"actions":[{"op":"delete_faults"}}',
    b'{"actions":[{"op":"delete_faults"}',
    b'{"actions":[{"op":"delete_faults"} {"op":"delete_faults"}]}',
    b'{"actions":[{"op":"guest_write","gfns":[1,2,3,4,5,6,7,8,9,NaN]}]}',
    b'{"actions":[{"op":"guest_write","gfns":[1,2,3,4,5,6,7,8,9,,1]}]}',
    b'{"actions":[{"op":"guest_write","gfns":[1,2,3,4,5,6,7,8,9,1}]}',
    b'{"actions" [{"op":"delete_faults"},{"op":"delete_faults"}]}',
    b'{"actions":[{"op":"guest_write","gfns":[1,2,3,4,5,6,7,8,9,1}}]}',
    b'{"actions":[{"op":"guest_write","gfn_ranges":[[1,2],[3,4],[5,6]}}]}',
    b'{"actions":[{"op":"clear_dirty_log","slot":0,"bitmap":xAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAx}]}',
)

SPACE = " " * 100
EMPTY: tuple[tuple[Any, str], ...] = (
    (model.Batch, f'{{"actions":[{SPACE}]}}'),
    (model.Batch, f'{{"actions":[{{"op":"guest_write","gfns":[{SPACE}]}}]}}'),
    (model.Batch, f'{{"actions":[{{"op":"guest_write","gfn_ranges":[{SPACE}]}}]}}'),
    (WRITE_BODY, f'{{"gfns":[{SPACE}]}}'),
    (CLEAR_BODY, f'{{"page_ranges":[{SPACE}],"first_page":64}}'),
    (model.CreateVm, f'{{"memslots":[{SPACE}]}}'),
    (model.GuestWriteMemory, f'{{"gpa_ranges":[{SPACE}]}}'),
    (model.Scenario, f'{{"scenario":"a","vms":[{SPACE}]}}'),
    (model.AddWorkload, f'{{"slot":0,"kind":"intervals","interval_ns":3,"pages":[{SPACE}]}}'),
    (model.AddWorkload, f'{{"slot":0,"kind":"intervals","interval_ns":3,"pages":[[{SPACE}]]}}'),
)
"""Arrays without elements, which are long all the same."""


def outcome_of(read: Reader[Any], text: bytes) -> object:
    """Return what was read as JSON, so that arrays can be compared, or the parts refused."""
    try:
        value = read(text)
    except InvalidRequestError as refused:
        return refused.errors
    except model.errors.InvalidArgumentError as refused:
        return refused.detail
    if not isinstance(value, dict):
        return write(value)
    return {name: getattr(part, "words", part) for name, part in value.items()}.__repr__()


def read_both_ways(monkeypatch: pytest.MonkeyPatch, kind: Any, given: Any) -> tuple[object, object]:
    read = kind if isinstance(kind, Reader) else reader_of(kind)
    text = given if isinstance(given, bytes) else json.dumps(given).encode()
    at_once = outcome_of(read, text)
    for module in (cutting, long_text):
        monkeypatch.setattr(module, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(reader, "PIECEWISE_BYTES", 0)
    return at_once, outcome_of(read, text)


@pytest.mark.parametrize(("kind", "given"), TAKEN)
def test_what_is_read_in_pieces_is_what_is_read_at_once(
    monkeypatch: pytest.MonkeyPatch, kind: Any, given: Any
) -> None:
    at_once, in_pieces = read_both_ways(monkeypatch, kind, given)

    assert isinstance(at_once, bytes | str)
    assert in_pieces == at_once


@pytest.mark.parametrize(("kind", "given"), REFUSED)
def test_what_is_wrong_in_a_piece_is_described_as_at_once(
    monkeypatch: pytest.MonkeyPatch, kind: Any, given: Any
) -> None:
    at_once, in_pieces = read_both_ways(monkeypatch, kind, given)

    assert not isinstance(at_once, bytes)
    assert in_pieces == at_once


@pytest.mark.parametrize(("kind", "text"), EMPTY)
def test_an_array_of_white_space_is_read_as_one_without_elements(
    monkeypatch: pytest.MonkeyPatch, kind: Any, text: str
) -> None:
    at_once, in_pieces = read_both_ways(monkeypatch, kind, text.encode())

    assert in_pieces == at_once


@pytest.mark.parametrize("text", MALFORMED)
def test_a_long_text_that_is_not_json_is_refused_as_such(
    monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    for module in (cutting, long_text):
        monkeypatch.setattr(module, "PIECE_BYTES", PIECE)

    with pytest.raises(MalformedBodyError, match="the body is not JSON"):
        long_json.read_long(model.Batch, text)


def test_a_field_that_is_there_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cutting, long_text):
        monkeypatch.setattr(module, "PIECE_BYTES", PIECE)

    once = b'{"op":"delete_faults"},'
    for text, pointer in (
        (b'{"actions":[], "actions":[{"op":"delete_faults"}]}', "/actions"),
        (b'{"actions":[%s{"op":"set_cpu","cpu":1,"cpu":2}]}' % (once * 9), "/actions/9/cpu"),
    ):
        with pytest.raises(InvalidRequestError, match=f"{pointer}: the field is there twice"):
            long_json.read_long(model.Batch, text)


def test_no_call_of_the_validator_has_more_than_a_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    at_once = long_text.LongText._at_once

    def noting(validator: Any, text: bytes, *rest: Any) -> Any:
        lengths.append(len(text))
        return at_once(validator, text, *rest)

    monkeypatch.setattr(long_text.LongText, "_at_once", staticmethod(noting))
    actions = [{"op": "set_cpu", "cpu": 0, "online": True}] * 10_000
    text = json.dumps({"actions": [*actions[1:], {**WRITE, "gfns": [1] * 200_000}]}).encode()

    read = reader_of(model.Batch)(text)

    assert len(read.actions) == 10_000
    assert len(lengths) > len(text) // 3 // cutting.PIECE_BYTES
    assert max(lengths) <= cutting.PIECE_BYTES + 2
