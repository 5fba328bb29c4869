"""Batches of plain accesses are read without the schema, and say what the schema reads from them."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.http.batches import perform_all, perform_plain, work_of_batch, work_of_plain
from app.http.bodies import validate
from app.http.plain_accesses import MAX_PLAIN_BYTES, PlainBatch, plain_batch_of
from app.http.schemas.batch import MAX_ACTIONS, BatchIn
from app.service.cost_estimate import INLINE_WORK
from app.service.fleet import Fleet, Vm, VmSpec
from app.service.limits import Limits
from hacdbs_sim.sim.actions import MachineConfig, SetMemoryRegion, TrackVersions

OPS = ("guest_write", "guest_read", "host_write", "host_unmap")
PATH = "/v1/vms/default-1/batch"
WRITE = {"op": "guest_write", "gfns": [1]}


def body_of(*actions: object) -> bytes:
    return json.dumps({"actions": actions}).encode()


def actions_of(batch: PlainBatch) -> list[tuple[str, list[int]]]:
    pages: list[Any] = [action.pages for action in batch.actions()]
    return [(op, each.gfns.tolist()) for op, each in zip(batch.ops, pages, strict=True)]


def read_by_schema(body: bytes) -> list[tuple[str, list[int]]]:
    actions: list[Any] = list(validate(BatchIn, body).actions)
    return [(action.op, action.to_domain().gfns.tolist()) for action in actions]


def new_vm() -> Vm:
    slots = (
        SetMemoryRegion(0, 0, 256 << 12, flags=1),
        SetMemoryRegion(1, 256 << 12, 64 << 12, flags=2),
    )
    return asyncio.run(Fleet(Limits()).create_vm(VmSpec("default", "", MachineConfig(), slots)))


plain_actions = st.lists(
    st.fixed_dictionaries(
        {"op": st.sampled_from(OPS), "gfns": st.lists(st.integers(0, 2**53 - 1), max_size=4)}
    ),
    min_size=1,
    max_size=8,
)
near_actions = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(OPS),
            "gfns": st.lists(st.one_of(st.integers(0, 330), st.just(1 << 50)), max_size=4),
        }
    ),
    min_size=1,
    max_size=12,
)


@given(plain_actions)
def test_a_plain_batch_says_what_the_schema_reads(actions: list[dict[str, Any]]) -> None:
    batch = plain_batch_of(body_of(*actions))

    assert batch is not None
    assert actions_of(batch) == read_by_schema(body_of(*actions))
    assert len(batch.frames) == sum(len(action["gfns"]) for action in actions)


@given(near_actions)
def test_a_plain_batch_answers_what_the_schemas_actions_answer(
    actions: list[dict[str, Any]],
) -> None:
    plain, body = plain_batch_of(body_of(*actions)), validate(BatchIn, body_of(*actions))
    assert plain is not None
    vms = (new_vm(), new_vm())

    answers = (perform_plain(vms[0], plain, PATH), perform_all(vms[1], body.actions, PATH))

    assert answers[0].response().body == answers[1].response().body
    assert vms[0].runtime.machine.counters() == vms[1].runtime.machine.counters()
    if not plain.is_of_page_writes:
        assert work_of_plain(vms[0], plain) == work_of_batch(vms[0], body.actions)


UNUSUAL = (
    b"",
    b"[]",
    b'{"actions":',
    b'{"actions":[]}',
    b'{"actions":{"op":"guest_write","gfns":[1]}}',
    b'[{"actions":1},{"op":"guest_write","gfns":[1]}]',
    body_of({"op": "guest_write", "gfn_ranges": [[1, 1]]}),
    body_of({**WRITE, "vcpu": 0}),
    body_of({**WRITE, "gfn_ranges": [[1, 1]]}),
    body_of({"op": "get_dirty_log", "slot": 0}),
    body_of(WRITE, {"op": "get_dirty_log", "slot": 0}),
    body_of(WRITE, {"op": "clear_dirty_log", "gfns": [1]}),
    body_of(WRITE, {"op": ["guest_write"], "gfns": [1]}),
    body_of(WRITE, {"op": "guest_write", "gfns": 1}),
    body_of(WRITE, {"op": "guest_write", "gfns": "1"}),
    body_of(WRITE, [{"op": "guest_write", "gfns": [1]}]),
    body_of({"op": "guest_write", "gfns": [-1]}),
    body_of({"op": "guest_write", "gfns": [1 << 53]}),
    body_of({"op": "guest_write", "gfns": [1 << 70]}),
    body_of({"op": "guest_write", "gfns": [1.0]}),
    body_of({"op": "guest_write", "gfns": [True]}),
    body_of({"op": "guest_write", "gfns": ["1"]}),
    body_of({"op": "guest_write", "gfns": [None]}),
    body_of({"op": "guest_write", "gfns": [float("nan")]}),
    body_of(*[WRITE] * (MAX_ACTIONS + 1)),
    body_of({"op": "guest_write", "gfns": [10**6] * (MAX_PLAIN_BYTES // 8)}),
)


@pytest.mark.parametrize("number", range(len(UNUSUAL)))
def test_anything_unusual_is_left_to_the_schema(number: int) -> None:
    assert plain_batch_of(UNUSUAL[number]) is None


def test_a_field_given_twice_is_read_as_the_schema_reads_it() -> None:
    body = (
        b'{"actions":[{"op":"guest_write","op":"guest_read","gfns":[1]},'
        b'{"op":"host_write","gfns":[2],"gfns":[3]}]}'
    )

    batch = plain_batch_of(body)

    assert batch is not None
    assert actions_of(batch) == read_by_schema(body)


def test_as_many_actions_as_the_schema_takes_are_plain() -> None:
    batch = plain_batch_of(body_of(*[WRITE] * MAX_ACTIONS))

    assert batch is not None
    assert len(batch.ops) == MAX_ACTIONS


def test_many_writes_of_one_page_are_short_work_where_they_are_done_at_once() -> None:
    count = 2_000
    plain = plain_batch_of(
        body_of(*({"op": "guest_write", "gfns": [n % 256]} for n in range(count)))
    )
    assert plain is not None
    at_once, one_by_one = new_vm(), new_vm()
    one_by_one.runtime.perform(TrackVersions(enabled=True))

    assert work_of_plain(at_once, plain) <= INLINE_WORK
    assert work_of_plain(one_by_one, plain) > INLINE_WORK
