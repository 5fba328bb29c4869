"""Reports to keep: one HTML file each, written in a worker thread."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from starlette.responses import Response

from hacdbs_sim.report import POLICY

from .build import installed_version
from .responses import HTML_MEDIA_TYPE

T = TypeVar("T")

HTML: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {HTML_MEDIA_TYPE: {"schema": {"type": "string"}}}}
}
"""The answer of an operation that returns a report, for the OpenAPI document."""


async def html_report(write: Callable[[T, str], str], value: T, name: str) -> Response:
    """Return a report as a file that a browser shows, and saves under this name."""
    text = await asyncio.to_thread(write, value, installed_version())
    headers = {
        "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
        "Content-Disposition": f'inline; filename="{name}.html"',
    }
    return Response(text, media_type=HTML_MEDIA_TYPE, headers=headers)
