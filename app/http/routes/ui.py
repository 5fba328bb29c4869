"""The web page."""

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from .. import ui
from ..problems import NO_SUCH_PATH, Refusal
from ..routing import resource_router

router = resource_router("service")


def _file(name: str) -> Response:
    if (found := ui.file(name)) is None:
        raise Refusal(NO_SUCH_PATH, "the page has no such part")
    return found


@router.get(ui.PATH, include_in_schema=False)
async def get_page() -> Response:
    """Return the page."""
    return _file(ui.INDEX)


@router.get(ui.PATH + "/{name}", include_in_schema=False)
async def get_part(name: Annotated[str, Path(description="A file of the page.")]) -> Response:
    """Return a part of the page."""
    return _file(name)
