"""/ui: the web page, from the files of the service; it loads nothing from other hosts.

The files hold nothing that a token would protect: the page asks the user for it and sends it with its calls.
"""

from functools import cache
from pathlib import Path
from typing import Annotated, Final

import fastapi
from starlette.responses import Response

from .problems import NO_SUCH_PATH, Refusal
from .routing import resource_router

PATH: Final = "/ui"
_MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FILES: Final = {
    file.name: file
    for file in (Path(__file__).parents[1] / "ui").iterdir()
    if file.name.rpartition(".")[2] in _MEDIA_TYPES
}
INDEX: Final = "index.html"

PATHS: Final = frozenset({PATH, f"{PATH}/", *(f"{PATH}/{name}" for name in _FILES)})
"""The paths of the page and its parts."""

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
"""No inline code, no other hosts, no framing, and no text that becomes markup."""

_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


router = resource_router("service")


@cache
def _content(name: str) -> bytes:
    return _FILES[name].read_bytes()


def file(name: str) -> Response:
    """Return a file of the page."""
    if name not in _FILES:
        raise Refusal(NO_SUCH_PATH, "the page has no such part")
    media_type = _MEDIA_TYPES[name.rpartition(".")[2]]
    return Response(_content(name), media_type=media_type, headers=_HEADERS)


@router.get(PATH, include_in_schema=False)
@router.get(f"{PATH}/", include_in_schema=False)
async def get_page() -> Response:
    """Return the page."""
    return file(INDEX)


@router.get(PATH + "/{name}", include_in_schema=False)
async def get_part(
    name: Annotated[str, fastapi.Path(description="A file of the page.")],
) -> Response:
    """Return a part of the page."""
    return file(name)
