"""/docs: the API in Swagger UI, from the files of the service; the page has no inline code."""

from functools import cache
from importlib import resources
from typing import Final

from starlette.responses import Response

from .responses import HTML_MEDIA_TYPE
from .routing import resource_router

PATH: Final = "/docs"
START: Final = "start.js"

BUNDLED: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
"""The files of Swagger UI, which fastapi-swagger bundles, and their media types."""

PATHS: Final = frozenset({PATH, f"{PATH}/{START}", *(f"{PATH}/{name}" for name in BUNDLED)})
"""The paths of the page and its parts; they hold nothing that a token would protect."""

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>hacdbs-sim</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

_START: Final = """\
"use strict";
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  layout: "BaseLayout",
  deepLinking: true,
  validatorUrl: null,
});
"""

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""No inline code, no other hosts, no framing. Swagger UI has icons as data URLs."""

_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

router = resource_router("service")


@cache
def asset(name: str) -> bytes:
    """Read a file of Swagger UI."""
    return resources.files("fastapi_swagger").joinpath("resources", name).read_bytes()


@router.get(PATH, include_in_schema=False)
async def get_docs() -> Response:
    """Show the API in Swagger UI, which loads nothing from other hosts."""
    return Response(_PAGE, media_type=HTML_MEDIA_TYPE, headers=_HEADERS)


@router.get(f"{PATH}/{START}", include_in_schema=False)
async def get_start() -> Response:
    """Return the script that starts Swagger UI."""
    return Response(_START, media_type="text/javascript", headers=_HEADERS)


def _serve(name: str, media_type: str) -> None:
    async def get_asset() -> Response:
        return Response(asset(name), media_type=media_type, headers=_HEADERS)

    router.add_api_route(f"{PATH}/{name}", get_asset, include_in_schema=False)


for _name, _media_type in BUNDLED.items():
    _serve(_name, _media_type)
