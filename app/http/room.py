"""Room for requests: each holds a part of the traffic budget from its first byte to its answer's last."""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..service.traffic import Hold, TrafficBudget

HOLD: Final = "hacdbs.hold"
"""Where the scope of a request has its hold."""

TEXT_BYTES: Final = 4
"""For each byte of a text: the text, and what is cut out of it."""

PIECE_BYTES: Final = 1 << 18
"""A longer body is sent in pieces of this length."""

ELEMENT_BYTES: Final = 64
OBJECT_BYTES: Final = 500
"""What an element of a list, as a page of an array that a machine works on, and an object take (measured)."""


class TrafficMiddleware:
    """Middleware that opens a hold for each request, which ends with its answer."""

    def __init__(self, app: ASGIApp, *, budget: TrafficBudget) -> None:
        self._app = app
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        hold = scope[HOLD] = Hold(self._budget)

        async def send_held(message: Message) -> None:
            if message["type"] == "http.response.body":
                hold.keep(len(message["body"]))
                if hold.held_bytes > PIECE_BYTES:
                    message = await _send_but_last(message, send)
            await send(message)

        try:
            await self._app(scope, receive, send_held)
        finally:
            hold.close()


async def _send_but_last(message: Message, send: Send) -> Message:
    """Send a long body in pieces; return the last one, which is empty.

    A server takes a piece at once and asks the next one to wait: so a body counts until it is sent, and
    what the socket does not take, which the server copies on the event loop, is short.
    """
    body = memoryview(message["body"])
    for at in range(0, len(body), PIECE_BYTES):
        piece = body[at : at + PIECE_BYTES]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    return {**message, "body": b""}


def hold_of(request: Request) -> Hold:
    """Return what a request holds of the traffic budget."""
    hold: Hold = request.scope[HOLD]
    return hold


def bytes_of_json(body: bytes) -> int:
    """Estimate the bytes that it takes to read a JSON text, piece by piece, and to work on it."""
    elements, objects = (_count(body, octet) for octet in (b",", b"{"))
    return TEXT_BYTES * len(body) + ELEMENT_BYTES * elements + OBJECT_BYTES * objects


def _count(body: bytes, octet: bytes) -> int:
    """Count an octet; one call over a long body would hold the interpreter."""
    return sum(body.count(octet, at, at + PIECE_BYTES) for at in range(0, len(body), PIECE_BYTES))
