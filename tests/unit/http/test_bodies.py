"""Octets are read to their place, however they come."""

from types import SimpleNamespace

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from app.http.bodies import THREAD_BYTES, read_octets
from app.http.problems import Refusal

pytestmark = pytest.mark.anyio

OCTETS = bytes(range(256)) * (THREAD_BYTES // 128)
LIMIT = len(OCTETS) + 1000


def _request(messages: list[Message], length: int | None) -> Request:
    async def receive() -> Message:
        return messages.pop(0)

    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    context = SimpleNamespace(max_body_bytes=LIMIT)
    app = SimpleNamespace(context=context)
    return Request({"type": "http", "headers": headers, "app": app}, receive)


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
@pytest.mark.parametrize("is_told", [True, False])
async def test_octets_come_together_again(size: int, *, is_told: bool) -> None:
    request = _request(_chunks(OCTETS, size), len(OCTETS) if is_told else None)

    assert await read_octets(request) == OCTETS


@pytest.mark.parametrize("told", [len(OCTETS) - 1, LIMIT + 1, None])
async def test_more_octets_than_were_told_or_are_taken_are_refused(told: int | None) -> None:
    octets = OCTETS + bytes(2000)
    request = _request(_chunks(octets, 65_536), told)

    with pytest.raises(Refusal) as refused:
        await read_octets(request)

    assert refused.value.problem.status == 413


async def test_octets_that_come_whole_are_not_copied() -> None:
    (whole,) = _chunks(OCTETS, len(OCTETS))

    assert await read_octets(_request([whole], len(OCTETS))) is whole["body"]


async def test_a_caller_who_leaves_has_sent_no_body() -> None:
    request = _request([_chunks(OCTETS, 65_536)[0], {"type": "http.disconnect"}], len(OCTETS))

    with pytest.raises(ClientDisconnect):
        await read_octets(request)
