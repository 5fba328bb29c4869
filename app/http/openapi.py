"""The OpenAPI document: FastAPI's paths and parameters, the wire's schemas, exact refusals.

Bodies are read and answers are written by the wire, so their schemas come from there. The refusals of
all operations come from one table, in place of FastAPI's own.
"""

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from hacdbs_sim.model import Problem
from hacdbs_sim.wire import json_schemas

from .headers import OF_ALL, add_headers_of_all, describe_headers
from .middleware import TOKEN_FREE_PATHS
from .refusals import responses_of
from .responses import JSON_MEDIA_TYPE
from .routing import StrictRoute

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


def _responses(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """Return an operation's answers and every refusal that it can give, by status."""
    responses = responses_of(path, operation)
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            responses[status] = answer
        if status in {"201", "202"}:
            answer["headers"] = {**_LOCATION, **answer.get("headers", {})}
    return dict(sorted(responses.items()))


def _fill_schemas(document: dict[str, Any], routes: Iterable[StrictRoute]) -> None:
    """Put the wire's schemas in their places, and what they refer to among the components."""
    by_id = {route.operation_id: route for route in routes}
    kinds: list[tuple[Any, Any]] = [(Problem, "serialization")]
    places: list[dict[str, Any]] = [{}]
    for operations in document["paths"].values():
        for operation in operations.values():
            route = by_id[operation["operationId"]]
            if route.reader is not None:
                kinds.append((route.reader, "validation"))
                places.append(operation["requestBody"]["content"][JSON_MEDIA_TYPE])
            for status, answer in operation["responses"].items():
                content = answer.get("content", {}).get(JSON_MEDIA_TYPE)
                if route.outcome is not None and status.startswith("2") and content is not None:
                    kinds.append((route.outcome, "serialization"))
                    places.append(content)
    schemas, definitions = json_schemas(kinds)
    for place, schema in zip(places, schemas, strict=True):
        place["schema"] = schema
    document["components"] = {
        "schemas": dict(sorted(definitions.items())),
        "headers": OF_ALL,
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
            add_headers_of_all(operation)
            if path not in TOKEN_FREE_PATHS:
                operation["security"] = _SECURITY
    routes = (context.original_route for context in iter_route_contexts(app.routes))
    _fill_schemas(document, (route for route in routes if isinstance(route, StrictRoute)))
    _tidy(document)
    return document
