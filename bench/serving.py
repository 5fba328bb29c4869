"""The service as `hacdbs-sim serve` runs it, with empty endpoints added: run as a program, `PORT_FILE`.

The empty ones are plain FastAPI, found before every other route: they read their parameters and return a
response made by hand. No endpoint of FastAPI with these parameters does less.
"""

import sys
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from app.server.runner import Server, listen, write_port
from bench.wire import OCTETS

BITMAP_BYTES: Final = 4 << 20
KEEP_ALIVE_SECONDS: Final = 3600
"""A real guest needs longer between two requests than the service is patient."""

_BITMAP: Final = bytes(range(256)) * (BITMAP_BYTES // 256)

router = APIRouter()


@router.get("/empty/{name}")
async def empty(name: str) -> Response:  # noqa: ARG001 - one path parameter, which is all it has
    """Do nothing."""
    return Response(b"{}", media_type="application/json")


class Ranges(BaseModel):
    """The body of a clear by ranges."""

    page_ranges: list[tuple[int, int]]


@router.post("/empty/{vm_id}/memslots/{slot}/dirty-log/get")
async def empty_get(vm_id: str, slot: int, form: Annotated[str, Query(alias="format")]) -> Response:
    """Read the parameters of a get, and do nothing."""
    del vm_id, slot, form
    return Response(b"{}", media_type="application/json")


@router.post("/empty/{vm_id}/memslots/{slot}/dirty-log/clear")
async def empty_clear(vm_id: str, slot: int, pages: Ranges) -> Response:
    """Read the parameters and the body of a clear, and do nothing."""
    del vm_id, slot, pages
    return Response(b"{}", media_type="application/json")


@router.get("/empty-out/{name}")
async def empty_out(name: str) -> Response:  # noqa: ARG001
    """Answer as many bytes as the largest bitmap has."""
    return Response(_BITMAP, media_type=OCTETS)


@router.post("/empty-in/{name}")
async def empty_in(name: str, request: Request) -> Response:  # noqa: ARG001
    """Read a body, and do nothing with it."""
    await request.body()
    return Response(b"{}", media_type="application/json")


def add_to(app: FastAPI) -> None:
    """Add the empty endpoints to an application, before its own."""
    app.router.routes[:0] = router.routes


if __name__ == "__main__":
    from app.main import app as served

    add_to(served)
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        server = Server(
            lambda: served,
            report=lambda: write_port(Path(sys.argv[1]), port),
            keep_alive_seconds=KEEP_ALIVE_SECONDS,
        )
        server.run(sockets=[listener])
