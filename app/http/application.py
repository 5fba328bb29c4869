"""The application: FastAPI for the document and for what is left over, and our own way in front.

A request passes the gate, then goes straight to the handler of its route, where it has one. FastAPI sees
the others: what no route of ours serves.
"""

from typing import Any

from fastapi import FastAPI
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from .context import Context
from .openapi import document_of


class Application(FastAPI):
    """A FastAPI application that something stands in front of."""

    context: Context
    """What routes need."""

    front: ASGIApp | None = None
    """What every request passes first; it hands to `serve_rest` what it does not serve itself."""

    refused_start: str | None = None
    """Why the application does not start, where it is not a defect."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.front is None or scope["type"] != "http":
            await self.serve_rest(scope, receive, self._telling(send))
            return
        scope["app"] = self
        await self.front(scope, receive, send)

    def _telling(self, send: Send) -> Send:
        """Tell a server why the application does not start, and no traceback."""

        async def tell(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed" and self.refused_start is not None:
                message["message"] = self.refused_start
            await send(message)

        return tell

    async def serve_rest(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as FastAPI does, with all its layers."""
        await super().__call__(scope, receive, send)

    @override
    def build_middleware_stack(self) -> ASGIApp:
        # But for the outermost of them, which would answer a defect before the gate does.
        stack = super().build_middleware_stack()
        assert isinstance(stack, ServerErrorMiddleware)
        return stack.app

    @override
    def openapi(self) -> dict[str, Any]:
        """Make the OpenAPI document, once: the routes are complete when it is first asked for."""
        if self.openapi_schema is None:
            self.openapi_schema = document_of(self)
        return self.openapi_schema
