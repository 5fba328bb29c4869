"""Batches with long lists are read as others are, and take a small multiple of their bytes."""

import tracemalloc

import pytest

from hacdbs_sim.model import Batch
from hacdbs_sim.wire import InvalidRequestError, MalformedBodyError, read, write
from hacdbs_sim.wire.batch_json import LONG_BYTES, long_lists, read_batch

COUNT = LONG_BYTES // 2


def batch_of(*actions: str) -> bytes:
    return ('{"actions": [' + ", ".join(actions) + "]}").encode()


GFNS = ",".join(str(n) for n in range(COUNT))
PAIRS = ", ".join(f"[{n},1]" for n in range(COUNT))
HEX = ",".join(f'"{n:#x}"' for n in range(COUNT))
LONG = (
    f'{{"op": "guest_write", "gfns": [{GFNS}], "vcpu": 0}}',
    f'{{"op":"host_write","gfn_ranges" : [ {PAIRS} ]}}',
    f'{{"op":"clear_dirty_log","slot":3,"page_ranges":[{PAIRS}]}}',
    f'{{"gfns":[{HEX}],"op":"guest_read"}}',
)
SHORT = ('{"op":"guest_write","gfns":[7]}', '{"op":"get_dirty_log","slot":0,"format":"base64"}')


@pytest.mark.parametrize("actions", [LONG, SHORT, (*SHORT, *LONG, *SHORT), ()])
def test_a_batch_is_the_same_however_it_is_read(actions: tuple[str, ...]) -> None:
    body = batch_of(*actions)

    assert len(long_lists(body)) == sum(each in LONG for each in actions)
    assert write(read_batch(body)) == write(read(Batch, body))


@pytest.mark.parametrize(
    "action",
    [
        f'{{"op":"guest_write","gfns":[{GFNS},-1]}}',
        f'{{"op":"host_write","gfn_ranges":[{PAIRS},[1,0]]}}',
        f'{{"op":"host_write","gfns":[{GFNS}],"slot":0}}',
        f'{{"op":"get_dirty_log","slot":0,"gfns":[{GFNS}]}}',
        f'{{"op":"nothing","gfns":[{GFNS}]}}',
    ],
)
def test_what_is_wrong_is_named_at_the_same_place(action: str) -> None:
    body = batch_of(SHORT[0], action)
    with pytest.raises(InvalidRequestError) as expected:
        read(Batch, body)

    with pytest.raises(InvalidRequestError) as refused:
        read_batch(body)

    assert [(each.pointer, each.detail) for each in refused.value.errors] == [
        (each.pointer, each.detail) for each in expected.value.errors
    ]


def test_text_that_is_not_json_is_refused_as_such() -> None:
    with pytest.raises(MalformedBodyError):
        read_batch(batch_of(LONG[0] + "}"))


@pytest.mark.parametrize("odd", ['"a,b"', "[1,2]", "1,,2"])
def test_a_long_list_that_is_not_plain_is_not_read_whole(odd: str) -> None:
    body = batch_of(SHORT[0], f'{{"op":"guest_write","gfns":[{GFNS},{odd}]}}')

    with pytest.raises((InvalidRequestError, MalformedBodyError)):
        read_batch(body)


@pytest.mark.parametrize("item", ["1,", "[1,1],", "12345678,"])
def test_it_takes_a_small_multiple_of_its_bytes(item: str) -> None:
    name = "gfn_ranges" if "[" in item else "gfns"
    body = batch_of(f'{{"op":"guest_write","{name}":[{(item * 400_000)[:-1]}]}}')
    tracemalloc.start()
    try:
        read_batch(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10 * len(body)
