"""Accept: JSON, or another form that a client requests: the ioctl's bytes, a stream of events, a table."""

from functools import partial
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from .responses import (
    CSV_MEDIA_TYPE,
    EVENTS_MEDIA_TYPE,
    HTML_MEDIA_TYPE,
    JSON_MEDIA_TYPE,
    OCTETS_MEDIA_TYPE,
)


def _qualities(accept: str) -> dict[str, float]:
    """Parse an Accept header: media range to quality; a malformed quality counts as 0."""
    qualities = {}
    for item in accept.lower().split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        text = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        qualities[media_range] = float(text) if text.replace(".", "", 1).isdecimal() else 0.0
    return qualities


def accepts(media_type: str, request: Request) -> bool:
    """Return whether a type is requested by name, above JSON by name, and not below `*`."""
    accept = ", ".join(request.headers.getlist("accept"))
    if media_type not in accept.lower():
        return False
    qualities = _qualities(accept)
    quality = qualities.get(media_type, 0.0)
    if JSON_MEDIA_TYPE in qualities:
        return quality > qualities[JSON_MEDIA_TYPE]
    any_type = qualities.get("application/*", qualities.get("*/*", 0.0))
    return quality > 0.0 and quality >= any_type


AcceptsOctets = Annotated[bool, Depends(partial(accepts, OCTETS_MEDIA_TYPE))]
AcceptsEvents = Annotated[bool, Depends(partial(accepts, EVENTS_MEDIA_TYPE))]
AcceptsCsv = Annotated[bool, Depends(partial(accepts, CSV_MEDIA_TYPE))]
AcceptsHtml = Annotated[bool, Depends(partial(accepts, HTML_MEDIA_TYPE))]
