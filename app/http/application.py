"""The application: FastAPI, with a context for routes, its own OpenAPI document and a stop."""

from functools import cache
from typing import Any

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send
from typing_extensions import override

from hacdbs_sim.wire import write

from .deps import Context
from .openapi import document_of
from .routes import ROUTES


class Application(FastAPI):
    """A FastAPI application of this service."""

    context: Context
    """The objects that routes use."""

    refused_start: str | None = None
    """The reason why the application does not start, if it is not a defect."""

    def begin(self) -> None:
        """Start to accept work; call on the event loop."""
        self.context.is_stopping = False
        self.context.fleet.begin()

    def begin_stop(self) -> None:
        """Stop accepting work, and end event streams and long polls; call on the event loop.

        A server that waits for all responses must call it first: these end no other way.
        """
        self.context.is_stopping = True
        self.context.fleet.begin_stop()

    async def end(self) -> None:
        """End what runs in the background, and free what the VMs hold; call once requests have ended."""
        self.begin_stop()
        await self.context.fleet.close()

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def report(message: Message) -> None:
            # To a server: why the application does not start, without a traceback
            if message["type"] == "lifespan.startup.failed" and self.refused_start is not None:
                message["message"] = self.refused_start
            await send(message)

        await super().__call__(scope, receive, report if scope["type"] == "lifespan" else send)

    @override
    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, which is the same for all settings."""
        return _document()

    def openapi_text(self) -> bytes:
        """Return it as JSON; to make it takes seconds, once."""
        return _document_text()


@cache
def _document() -> dict[str, Any]:
    return document_of(ROUTES)


@cache
def _document_text() -> bytes:
    return write(_document())
