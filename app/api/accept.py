"""Which of two forms a caller accepts: JSON, or the ioctl's own bytes."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from app.api.responses import OCTETS_MEDIA_TYPE


def _qualities(accept: str) -> dict[str, float]:
    """Read an Accept header: media range to quality; a quality that is none counts as 0."""
    qualities = {}
    for item in accept.lower().split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        text = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        qualities[media_range] = float(text) if text.replace(".", "", 1).isdecimal() else 0.0
    return qualities


async def accepts_octets(request: Request) -> bool:
    """Tell whether octets are asked for: by name, and no less than JSON is by its name."""
    accept = request.headers.get("accept", "")
    if OCTETS_MEDIA_TYPE not in accept.lower():
        return False
    qualities = _qualities(accept)
    return qualities.get(OCTETS_MEDIA_TYPE, 0.0) > qualities.get("application/json", 0.0)


AcceptsOctets = Annotated[bool, Depends(accepts_octets)]
