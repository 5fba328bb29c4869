"""Which of two forms a caller accepts: JSON, or the ioctl's own bytes."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from app.api.raw_headers import every
from app.api.responses import JSON_MEDIA_TYPE, OCTETS_MEDIA_TYPE


def _qualities(accept: str) -> dict[str, float]:
    """Read an Accept header: media range to quality; a quality that is none counts as 0."""
    qualities = {}
    for item in accept.lower().split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        text = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        qualities[media_range] = float(text) if text.replace(".", "", 1).isdecimal() else 0.0
    return qualities


def accepts_octets(request: Request) -> bool:
    """Tell whether octets are asked for by name, more than JSON by its own, no less than by `*`."""
    accept = ", ".join(every(request, b"accept"))
    if OCTETS_MEDIA_TYPE not in accept.lower():
        return False
    qualities = _qualities(accept)
    octets = qualities.get(OCTETS_MEDIA_TYPE, 0.0)
    if JSON_MEDIA_TYPE in qualities:
        return octets > qualities[JSON_MEDIA_TYPE]
    any_type = qualities.get("application/*", qualities.get("*/*", 0.0))
    return octets > 0.0 and octets >= any_type


AcceptsOctets = Annotated[bool, Depends(accepts_octets)]
