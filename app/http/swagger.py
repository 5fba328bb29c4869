"""/docs: Swagger UI from the assets that fastapi-swagger bundles; it loads nothing from other hosts."""

from functools import cache
from importlib import resources
from typing import Final

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import Response

ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
"""The bundled files that the page loads, and their media types."""


@cache
def asset(name: str) -> bytes:
    """Read a bundled file."""
    return resources.files("fastapi_swagger").joinpath("resources", name).read_bytes()


def page(title: str) -> Response:
    """Return the page."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=title,
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/docs/favicon-32x32.png",
    )
