"""A field that is there twice is refused, wherever and however it is written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hacdbs_sim.model import AddWorkload, Batch, ClearDirtyLog, CreateVm, GuestWrite, Scenario
from hacdbs_sim.wire import InvalidRequestError, body_class, read
from hacdbs_sim.wire.reader import PIECEWISE_BYTES
from hacdbs_sim.wire.repeated import FEW_NAMES, check_fields_once

SLOT = '"slot": 0, "guest_phys_addr": 0, "memory_size": "4KiB"'


def pointer_of(body: bytes | str) -> str | None:
    try:
        check_fields_once(body)
    except InvalidRequestError as refused:
        (error,) = refused.errors
        return error.pointer
    return None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ("{}", None),
        ('{"a": 1, "b": {"a": 1}}', None),
        ('[{"a": 1}, {"a": 1}]', None),
        ('{"a": "a", "b": "a"}', None),
        ('{"a": "\\"a\\": 1", "b": 1}', None),
        ('{"": 1, " ": 1}', None),
        ('{"é": 1, "e\u0301": 1}', None),
        ('{"a": 1, "a": 2}', "/a"),
        ('{"a":1,"a" \t\r\n :1}', "/a"),
        ('{"a": 1, "\\u0061": 1}', "/a"),
        ('{"": 1, "": 1}', "/"),
        ('{"a/b~c": 1, "a/b~c": 1}', "/a~1b~0c"),
        ('{"a": ["a:", ":", 1], "b": [0, {"c": 1, "c": 1}]}', "/b/1/c"),
        ('[[], [[{"a": 1}, {"b": {"c": [], "c": []}}]]]', "/1/0/1/b/c"),
        ('{"a": {"b": 1, "b": 1}, "a": 1}', "/a/b"),
        ('{":": ",", ":": ""}', "/:"),
    ],
)
def test_the_pointer_leads_to_the_first_field_that_is_there_twice(
    body: str, pointer: str | None
) -> None:
    assert pointer_of(body) == pointer
    assert pointer_of(body.encode()) == pointer


@pytest.mark.parametrize("count", [FEW_NAMES - 1, FEW_NAMES, FEW_NAMES + 1, 10_000])
def test_many_names_are_compared_as_few_are(count: int) -> None:
    body = "{" + ",".join(f'"{number}": 0' for number in range(count))

    assert pointer_of(body + "}") is None
    assert pointer_of(body + ', "7": 1}') == "/7"


NAMES = st.sampled_from(["a", "b", '"', "\\", ":", "a:", '"a":', "\x00", "é"])
VALUES: Any = st.recursive(
    st.none() | st.integers() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(NAMES, inner), max_size=3).map(tuple),
    max_leaves=12,
)  # fmt: skip


def text_of(value: Any) -> str:
    """Write a value as JSON, of which a tuple is an object: names may repeat."""
    if isinstance(value, tuple):
        return "{" + ",".join(f"{json.dumps(k)}:{text_of(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(text_of, value)) + "]"
    return json.dumps(value)


def repeats(value: Any) -> bool:
    if isinstance(value, tuple):
        names = [name for name, _ in value]
        return len(set(names)) < len(names) or any(repeats(inner) for _, inner in value)
    return isinstance(value, list) and any(map(repeats, value))


@given(VALUES)
def test_any_text_is_judged_by_its_objects(value: Any) -> None:
    assert (pointer_of(text_of(value)) is not None) is repeats(value)


LONG = " " * PIECEWISE_BYTES
_GFNS = '{"gfns": [1],' + LONG + '"gfns": [2]}'
_INTERVALS = '"slot": 0, "kind": "intervals", "interval_ns": 9, "pages": [[1]]'


@pytest.mark.parametrize(
    ("kind", "body", "pointer"),
    [
        (CreateVm, '{"vcpus": 1, "vcpus": 2}', "/vcpus"),
        (CreateVm, f'{{"memslots": [{{{SLOT}}}, {{{SLOT}, "slot": 1}}]}}', "/memslots/1/slot"),
        (GuestWrite, '{"gfns": [1], "gfns": [2]}', "/gfns"),
        (GuestWrite, _GFNS, "/gfns"),
        (GuestWrite, '{"vcpu": 0, "gfns": [1], "vcpu": 1}', "/vcpu"),
        (AddWorkload, f'{{{_INTERVALS}, "pages": [[2]]}}', "/pages"),
        (AddWorkload, f'{{{_INTERVALS},{LONG}"pages": [[2]]}}', "/pages"),
        (
            Batch,
            (
                '{"actions": [{"op": "guest_write", "gfns": [1]},'
                ' {"op": "guest_write", "gfns": [1], "gfns": [2]}]}'
            ),
            "/actions/1/gfns",
        ),
        (Batch, '{"actions": [], "actions": []}', "/actions"),
        (
            Scenario,
            (
                '{"scenario": "x", "vms": [{"key": "a"}], "steps": [{"vm": "a",'
                ' "action": {"op": "advance_clock", "duration_ns": 1},'
                ' "expect": {"body": {"x": 1, "x": 2}}}]}'
            ),
            "/steps/0/expect/body/x",
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else f"{value[:24]}{len(value)}",
)
def test_no_request_keeps_the_last_of_two(kind: type, body: str, pointer: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        read(kind, body.encode())

    assert [error.pointer for error in refused.value.errors] == [pointer]


@pytest.mark.parametrize("space", ["", LONG])
def test_a_body_of_a_route_is_read_as_strictly(space: str) -> None:
    reader = body_class(ClearDirtyLog, without=frozenset({"slot", "cpu"}))
    body = '{"page_ranges": [[0, 1]],' + space + '"num_pages": 64, "page_ranges": [[1, 1]]}'

    with pytest.raises(InvalidRequestError) as refused:
        reader(body.encode())

    assert [error.pointer for error in refused.value.errors] == ["/page_ranges"]
