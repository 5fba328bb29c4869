"""Calls on an application in this process, and the history of what they made there."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from typing_extensions import override

from app.http import bodies
from app.http.application import Application
from app.service import fleet as fleet_module
from app.service import migration_tasks, vm_runtime
from app.service.fleet import Fleet
from app.service.idempotency_store import IdempotencyStore
from app.service.limits import Limits
from app.service.order import Change
from hacdbs_sim.model import VmSpec

STOPPED: Final = 503
ENDINGS: Final = frozenset({"reset_session", "delete_session"})


@dataclass(slots=True, eq=False)
class Request:
    """A request and its response; `began` and `ended` are places in the history.

    Attributes:
        name: The name of the VM that it makes, which no other request makes.
        began: When the service knew it: with a key, when that was claimed.
        status: 0 until it is answered.
        is_cancelled: Whether its task was cancelled, as a server does when it stops.
    """

    method: str
    path: str
    body: Any = None
    key: str = ""
    name: str = ""
    is_slow: bool = False
    began: int = 0
    ended: int = 0
    status: int = 0
    answer: Any = None
    is_cancelled: bool = False

    @override
    def __repr__(self) -> str:
        answer = self.code or self.status
        return (
            f"<{self.method} {self.path} {self.name} {self.key} {self.began}-{self.ended} {answer}>"
        )

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(self.answer["code"]) if self.status >= 400 else ""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a session: a VM came or went, or the session began or ended."""

    session_id: str
    vm_id: str | None
    what: str
    name: str = ""
    by: Request | None = None
    """The request in whose context it happened."""

    @override
    def __repr__(self) -> str:
        return f"<{self.what} {self.vm_id or self.session_id} {self.name}>"


_CURRENT: ContextVar[Request] = ContextVar("request")


@dataclass(slots=True, eq=False)
class World:
    """An application with a fleet of its own, and all that happened there."""

    app: Application
    fleet: Fleet = field(default_factory=lambda: Fleet(Limits()))
    history: list[Event] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.app.context.fleet = self.fleet
        self.fleet.order.watch(self._record)
        self.fleet.idempotency = _Claims(self)
        self.app.begin()

    def _record(self, _: int, session_id: str, vm_id: str | None, change: Change) -> None:
        if isinstance(change, VmSpec):
            by = _CURRENT.get(None)
            self.history.append(Event(session_id, vm_id, "create_vm", change.name, by))
        elif isinstance(change, str):
            self.history.append(Event(session_id, vm_id, change))

    async def call(self, request: Request) -> Request:
        """Send a request, and record its response."""
        self.requests.append(request)
        _CURRENT.set(request)
        request.began = len(self.history)
        path, _, query = request.path.partition("?")
        headers = [(b"host", b"localhost")]
        content = b""
        if request.body is not None:
            content = json.dumps(request.body).encode()
            headers += [
                (b"content-type", b"application/json"),
                (b"content-length", b"%d" % len(content)),
            ]
        if request.key:
            headers.append((b"idempotency-key", request.key.encode()))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        parts = _parts(content, is_slow=request.is_slow)
        received: list[Mapping[str, Any]] = []

        async def receive() -> Mapping[str, Any]:
            part = next(parts, None)
            if part is None:
                return {"type": "http.disconnect"}
            if request.is_slow:
                await asyncio.sleep(0)
            return part

        async def send(message: Mapping[str, Any]) -> None:
            received.append(message)

        try:
            await self.app(scope, receive, send)  # type: ignore[arg-type]
        except asyncio.CancelledError:
            request.is_cancelled = True
            raise
        finally:
            request.ended = len(self.history)
        if received[0]["status"] == STOPPED:  # the task was cancelled, and has said so
            request.is_cancelled = True
            raise asyncio.CancelledError
        request.status = received[0]["status"]
        text = b"".join(message.get("body", b"") for message in received[1:])
        request.answer = json.loads(text) if text else None
        return request


class _Claims(IdempotencyStore):
    """Records when a request claims its key: then it begins."""

    def __init__(self, world: World) -> None:
        super().__init__(world.fleet.limits, lambda: 0.0)
        self._world = world

    @override
    def begin(self, scope_name: str, key: str, fingerprint: bytes) -> Any:
        _CURRENT.get().began = len(self._world.history)
        return super().begin(scope_name, key, fingerprint)


def _parts(content: bytes, *, is_slow: bool) -> Iterator[Mapping[str, Any]]:
    if is_slow:
        yield {"type": "http.request", "body": content[:1], "more_body": True}
        content = content[1:]
    yield {"type": "http.request", "body": content, "more_body": False}


@contextmanager
def small_steps(*, in_threads: bool, decodes_in_threads: bool) -> Iterator[None]:
    """Let each step of a migration be a piece, and calls go to threads that are short otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migration_tasks, "PIECE_SECONDS", 0.0)
        if in_threads:
            patch.setattr(vm_runtime, "INLINE_WORK", -1)
            patch.setattr(fleet_module, "INLINE_WORK", -1)
        if decodes_in_threads:
            patch.setattr(bodies, "THREAD_BYTES", -1)
        yield
