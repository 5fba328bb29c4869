"""Room for requests: a long body leaves in pieces, and counts until it is sent."""

import pytest
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.http.room import PIECE_BYTES, TrafficMiddleware, bytes_of_json
from app.service.traffic import TrafficBudget
from tests.unit.http.requests import scope_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("pieces", [0, 1, 2, 3.5])
async def test_a_long_body_is_sent_in_pieces(pieces: float) -> None:
    body = bytes(range(256)) * int(pieces * PIECE_BYTES // 256)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is asked for")

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(body)(scope, receive, send)

    await TrafficMiddleware(serve, budget=TrafficBudget(1 << 30))(
        scope_of("GET", "/v1/vms"), receive, send
    )

    start, *parts = sent
    assert (b"content-length", b"%d" % len(body)) in start["headers"]
    assert b"".join(part["body"] for part in parts) == body
    assert max(len(part["body"]) for part in parts) <= PIECE_BYTES
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]


def test_what_a_long_text_takes_is_counted_piece_by_piece() -> None:
    text = b'[{"a":1},' * PIECE_BYTES + b"2]"

    assert bytes_of_json(text) == 4 * len(text) + 64 * text.count(b",") + 500 * text.count(b"{")
