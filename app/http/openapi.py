"""The OpenAPI document: FastAPI's paths and parameters, the wire's schemas, exact refusals.

Bodies are read and answers are written by the wire, so their schemas come from there: a route names
its reader in `openapi_extra` and its outcome as `response_model`. The refusals of all operations come
from one table; what a router says of them only keeps FastAPI from adding its own.
"""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from hacdbs_sim.model import Problem
from hacdbs_sim.wire import Reader, json_schemas

from .headers import describe_headers
from .middleware import TOKEN_FREE_PATHS
from .refusals import responses_of
from .responses import JSON_MEDIA_TYPE, OCTETS_MEDIA_TYPE
from .routing import StrictRoute

_READERS: Final[dict[str, Reader[Any]]] = {}
"""The readers of all routes, by the key that stands for their schema until the document is made."""

_OCTETS: Final = {"schema": {"type": "string", "format": "binary"}}
_LOCATION: Final = {
    "Location": {
        "description": "Where the new one is.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    }
}
_SCHEME: Final = "token"
_SECURITY_SCHEMES: Final = {
    _SCHEME: {
        "type": "http",
        "scheme": "bearer",
        "description": "The token of HACDBS_TOKEN, where the service has one.",
    }
}
_SECURITY: Final[list[dict[str, list[str]]]] = [{}, {_SCHEME: []}]
"""None, or the token: which of them depends on a setting, and the document on none."""

_READER_KEY: Final = "x-reader"


def _tidy(node: Any) -> None:  # noqa: ANN401 - any part of a document
    """Print whole numbers as integers: FastAPI's own model holds bounds as floats."""
    if isinstance(node, list):
        for value in node:
            _tidy(value)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if isinstance(value, float) and value.is_integer():
            node[key] = int(value)
        else:
            _tidy(value)


def json_request(reader: Reader[Any], *, required: bool = True) -> dict[str, Any]:
    """Describe a JSON body, for `openapi_extra`."""
    key = str(len(_READERS))
    _READERS[key] = reader
    content = {JSON_MEDIA_TYPE: {"schema": {_READER_KEY: key}}}
    return {"requestBody": {"required": required, "content": content}}


def pages_request(reader: Reader[Any], octets: str) -> dict[str, Any]:
    """Describe a body of pages, as JSON or as octets, for `openapi_extra`."""
    extra = json_request(reader)
    extra["requestBody"]["description"] = octets
    extra["requestBody"]["content"][OCTETS_MEDIA_TYPE] = _OCTETS
    return extra


def _with_location(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "headers": {**_LOCATION, **answer.get("headers", {})}}


def _responses(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """Return an operation's answers and every refusal that it can give, by status."""
    answers = {
        status: _with_location(answer) if status in {"201", "202"} else answer
        for status, answer in operation["responses"].items()
        if status.startswith("2")
    }
    return dict(sorted((answers | responses_of(path, operation)).items()))


def _fill_schemas(document: dict[str, Any], routes: list[StrictRoute]) -> None:
    """Put the wire's schemas in their places, and what they refer to among the components."""
    outcomes = {route.operation_id: route.outcome for route in routes}
    kinds: list[tuple[Any, Any]] = [(Problem, "serialization")]
    places: list[dict[str, Any]] = [{}]
    for operations in document["paths"].values():
        for operation in operations.values():
            body = operation.get("requestBody", {}).get("content", {}).get(JSON_MEDIA_TYPE)
            if body is not None:
                kinds.append((_READERS[body["schema"][_READER_KEY]], "validation"))
                places.append(body)
            outcome = outcomes[operation["operationId"]]
            for status, answer in operation["responses"].items():
                content = answer.get("content", {}).get(JSON_MEDIA_TYPE)
                if outcome is not None and status.startswith("2") and content is not None:
                    kinds.append((outcome, "serialization"))
                    places.append(content)
    schemas, definitions = json_schemas(kinds)
    for place, schema in zip(places, schemas, strict=True):
        place["schema"] = schema
    document["components"] = {
        "schemas": dict(sorted(definitions.items())),
        "securitySchemes": _SECURITY_SCHEMES,
    }


def document_of(app: FastAPI) -> dict[str, Any]:
    """Make the OpenAPI document of an application whose routes are complete."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
    )
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            describe_headers(method, operation)
            operation["responses"] = _responses(path, operation)
            if path not in TOKEN_FREE_PATHS:
                operation["security"] = _SECURITY
    _fill_schemas(document, _routes_of(app))
    _tidy(document)
    return document


def _routes_of(app: FastAPI) -> list[StrictRoute]:
    found = [context.original_route for context in iter_route_contexts(app.routes)]
    return [route for route in found if isinstance(route, StrictRoute)]
