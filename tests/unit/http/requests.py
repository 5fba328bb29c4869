"""Requests as a server passes them, and their responses."""

from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Message

from app.http.room import HOLD
from app.service.traffic import Hold, TrafficBudget


def scope_of(
    method: str = "GET",
    path: str = "/livez",
    *headers: tuple[str, str],
    query: str = "",
) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "path_params": {},
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }


def request_of(*headers: tuple[str, str], body: bytes = b"", **scope: Any) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    hold = Hold(TrafficBudget(1 << 30))
    return Request({**scope_of("POST", "/", *headers), HOLD: hold, **scope}, receive)


async def answer_of(
    app: ASGIApp, scope: dict[str, Any], *bodies: Message
) -> tuple[int, dict[str, str], bytes]:
    """Serve one request; return status, headers and body."""
    sent: list[Message] = []
    waiting = list(bodies)

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if not sent:
        return 0, {}, b""
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message["body"] for message in sent[1:])
