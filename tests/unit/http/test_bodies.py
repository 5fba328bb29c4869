"""Bodies are read up to the limit, however they come."""

from types import SimpleNamespace

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from app.http.bodies import THREAD_BYTES, Bound, PagesBody, media_type_of, read_body, read_octets
from app.http.problems import Refusal
from app.http.room import HOLD
from app.service.traffic import Hold, TrafficBudget
from hacdbs_sim.model import Bitmap, ClearDirtyLog, Gfns, GuestRead, PageRanges
from hacdbs_sim.wire import InvalidRequestError, body_class

pytestmark = pytest.mark.anyio

OCTETS = bytes(range(256)) * (THREAD_BYTES // 128)
LIMIT = len(OCTETS) + 1000

_FRAMES = PagesBody(body_class(GuestRead, without=frozenset({"vcpu"})), kind=Gfns, text="")
_CLEARED = PagesBody(
    body_class(
        ClearDirtyLog, without=frozenset({"slot", "first_page", "num_pages", "cpu", "trace"})
    ),
    kind=Bitmap,
    text="",
)


def _request(messages: list[Message], length: int | None, media_type: str = "") -> Request:
    async def receive() -> Message:
        return messages.pop(0)

    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    if media_type:
        headers.append((b"content-type", media_type.encode()))
    app = SimpleNamespace(context=SimpleNamespace(max_body_bytes=LIMIT))
    hold = Hold(TrafficBudget(64 * LIMIT))
    scope = {"type": "http", "headers": headers, "app": app, HOLD: hold}
    return Request(scope, receive)


def _chunks(octets: bytes, size: int) -> list[Message]:
    return [
        {
            "type": "http.request",
            "body": octets[at : at + size],
            "more_body": at + size < len(octets),
        }
        for at in range(0, len(octets), size)
    ]


@pytest.mark.parametrize("size", [65_536, 100_001, len(OCTETS)])
@pytest.mark.parametrize("has_length", [True, False])
async def test_octets_come_together_again(size: int, *, has_length: bool) -> None:
    request = _request(_chunks(OCTETS, size), len(OCTETS) if has_length else None)

    assert await read_octets(request, 1) == OCTETS


@pytest.mark.parametrize("length", [len(OCTETS) - 1, LIMIT + 1, None])
async def test_more_octets_than_announced_or_allowed_are_refused(length: int | None) -> None:
    octets = OCTETS + bytes(2000)
    request = _request(_chunks(octets, 65_536), length)

    with pytest.raises(Refusal) as refused:
        await read_octets(request, 1)

    assert refused.value.problem.status == 413


async def test_a_body_from_a_client_that_disconnects_is_not_read() -> None:
    request = _request([_chunks(OCTETS, 65_536)[0], {"type": "http.disconnect"}], len(OCTETS))

    with pytest.raises(ClientDisconnect):
        await read_octets(request, 1)


@pytest.mark.parametrize("length", [None, LIMIT])
async def test_a_body_is_read_up_to_the_operations_own_limit(length: int | None) -> None:
    chunks = _chunks(b"x" * 100, 7)

    assert await read_body(_request(list(chunks), None), Bound(max_bytes=100)) == b"x" * 100
    with pytest.raises(Refusal) as refused:
        await read_body(_request(chunks, length), Bound(max_bytes=99))
    assert refused.value.problem.status == 413


@pytest.mark.parametrize("given", ["application/json", "Application/JSON; charset=utf-8"])
def test_a_media_type_is_read_without_case_and_parameters(given: str) -> None:
    request = Request({"type": "http", "headers": [(b"content-type", given.encode())]})

    assert media_type_of(request, "application/json") == "application/json"


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ("text/plain", "Content-Type must be a/b or c/d, not 'text/plain'"),
        ("", "Content-Type must be a/b or c/d, and it is missing"),
    ],
)
def test_another_media_type_is_refused(given: str, detail: str) -> None:
    headers = [(b"content-type", given.encode())] if given else []

    with pytest.raises(Refusal) as refused:
        media_type_of(Request({"type": "http", "headers": headers}), "a/b", "c/d")

    assert refused.value.detail == detail


def _json_request(body: bytes) -> Request:
    return _request(_chunks(body, 65_536), len(body), "application/json")


@pytest.mark.parametrize("space", ["", " " * (THREAD_BYTES + 1)], ids=["short", "long"])
async def test_pages_of_a_body_are_the_same_whether_it_is_short_or_long(space: str) -> None:
    async def frames(body: str) -> object:
        return await _FRAMES.read(_json_request(body.replace("~", space).encode()))

    async def pages(body: str) -> object:
        return await _CLEARED.read(_json_request(body.replace("~", space).encode()))

    gfns = await frames('{"gfns": [1,~ 2]}')
    ranges = await frames('{"gfn_ranges": [[1, 2],~ [5, 6]]}')
    bitmap = await pages('{"bitmap":~ "AQAAAAAAAAA="}')
    words = await pages('{"words": [3,~ 4]}')
    of_slot = await pages('{"page_ranges": [[0, 1],~ [7, 1]]}')

    assert isinstance(gfns, Gfns)
    assert gfns.gfns.tolist() == [1, 2]
    assert isinstance(ranges, PageRanges)
    assert (ranges.first.tolist(), ranges.count.tolist()) == ([1, 5], [2, 6])
    assert isinstance(bitmap, Bitmap)
    assert bitmap.words.tolist() == [1]
    assert isinstance(words, Bitmap)
    assert words.words.tolist() == [3, 4]
    assert isinstance(of_slot, PageRanges)
    assert of_slot.first.tolist() == [0, 7]


@pytest.mark.parametrize("space", [b"", b" " * (THREAD_BYTES + 1)], ids=["short", "long"])
async def test_a_wrong_page_of_a_body_is_named_whether_it_is_short_or_long(space: bytes) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        await _FRAMES.read(_json_request(b'{"gfns": [1,' + space + b"-2]}"))

    assert [error.pointer for error in refused.value.errors] == ["/gfns/1"]
