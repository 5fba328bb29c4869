"""A long body takes a small multiple of its bytes while it is read, whatever it holds."""

import tracemalloc
from contextlib import suppress

import pytest

from hacdbs_sim.model import Batch, GuestWrite
from hacdbs_sim.wire import InvalidRequestError, body_class, read

pytestmark = pytest.mark.slow

COUNT = 400_000
BATCH = '{{"actions":[{{"op":"guest_write",{}}}]}}'
ALONE = "{{{}}}"


def list_of(name: str, item: str, last: str = "") -> str:
    return f'"{name}":[{(item * COUNT)[:-1]}{last}]'


@pytest.mark.parametrize("form", [BATCH, ALONE], ids=["batch", "alone"])
@pytest.mark.parametrize(
    "pages",
    [
        list_of("gfns", "1,"),
        list_of("gfns", "12345678,"),
        list_of("gfn_ranges", "[1,1],"),
        list_of("gfn_ranges", "[1,1],", ',["1,1",1]'),
        list_of("gfns", "1,") + ',"junk":null',
        '"gfns":[1],' + list_of("junk", "[],"),
        list_of("gfns", "[],"),
        list_of("gfns", "{},"),
    ],
    ids=["short", "long", "pairs", "odd pairs", "unknown", "junk", "lists", "objects"],
)
def test_it_takes_a_small_multiple_of_its_bytes(form: str, pages: str) -> None:
    body = form.format(pages).encode()
    reader = body_class(GuestWrite, without=frozenset({"vcpu"}))
    tracemalloc.start()
    try:
        with suppress(InvalidRequestError):
            if form is BATCH:
                read(Batch, body)
            else:
                reader(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10 * len(body) + (4 << 20)
