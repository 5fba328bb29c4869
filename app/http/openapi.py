"""The OpenAPI document: FastAPI's paths and parameters, the wire's schemas, exact refusals.

Bodies are read and answers are written by the wire, so their schemas come from there. The refusals of
all operations come from one table, in place of FastAPI's own. Summaries are the docstrings of routes,
descriptions of tags those of their modules.
"""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fastapi.openapi.utils import get_openapi

from hacdbs_sim.model import Problem
from hacdbs_sim.wire.openapi import json_schemas, tidy

from .headers import OF_ALL, add_headers_of_all, describe_headers
from .links import add_links, path_names
from .middleware import TOKEN_FREE_PATHS
from .refusals import responses_of
from .responses import JSON_MEDIA_TYPE
from .routing import StrictRoute

TITLE: Final = "hacdbs-sim"
VERSION: Final = "1"
SUMMARY: Final = "A migration-test harness for an accelerated dirty log"
DESCRIPTION: Final = """\
Simulated KVM/arm64 virtual machines whose dirty log is cleaned by a FEAT_HACDBS unit first and by \
software where that stops. Each refusal is a problem document (RFC 9457); `/problems/{code}` \
explains its code."""

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

_SERVERS: Final = [{"url": "/", "description": "The service that serves this document."}]
_CONTACT: Final = {"name": "The hacdbs-sim authors"}
_LICENSE: Final = {"name": "MIT License", "identifier": "MIT"}

_PLACES: Final = ("path", "query", "header")
_SENTENCE_END: Final = re.compile(r"[.:;](\s|$)")
_EXAMPLES: Final = "examples"


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


def _summary_of(description: str) -> str:
    """Return the beginning of a description that says what an operation does, without when and how."""
    return " ".join(_SENTENCE_END.split(description, maxsplit=1)[0].split())


def _describe_parameters(path: str, operation: dict[str, Any]) -> None:
    """Put parameters in the order of the path, then of the place, each with its example."""
    parameters = operation.get("parameters", [])
    names = path_names(path)
    for parameter in parameters:
        if examples := parameter["schema"].pop(_EXAMPLES, None):
            parameter["example"] = examples[0]

    def position(parameter: dict[str, Any]) -> tuple[int, int]:
        place = _PLACES.index(parameter["in"])
        return place, names.index(parameter["name"]) if place == 0 else 0

    parameters.sort(key=position)


def _tags_of(routes: Iterable[StrictRoute]) -> list[dict[str, str]]:
    """Describe each tag by the docstring of the first module that has it."""
    described: dict[str, str] = {}
    for route in routes:
        if route.include_in_schema:
            text = inspect.getdoc(inspect.getmodule(route.endpoint)) or ""
            for tag in route.tags:
                described.setdefault(str(tag), " ".join(text.split()))
    return [{"name": tag, "description": text} for tag, text in described.items()]


def _add_request_examples(document: dict[str, Any]) -> None:
    """Give each JSON body the example of its schema, or of the first of several."""
    schemas = document["components"]["schemas"]
    for operations in document["paths"].values():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {})
            if (json := content.get(JSON_MEDIA_TYPE)) is None:
                continue
            schema = json["schema"]
            while _EXAMPLES not in schema:
                choice = schema["oneOf"][0] if "oneOf" in schema else schema
                schema = schemas[choice["$ref"].rpartition("/")[2]]
            json["example"] = schema[_EXAMPLES][0]


def document_of(routes: Sequence[StrictRoute]) -> dict[str, Any]:
    """Make the OpenAPI document of an application that has these routes."""
    document = get_openapi(
        title=TITLE,
        version=VERSION,
        summary=SUMMARY,
        description=DESCRIPTION,
        contact=_CONTACT,
        license_info=_LICENSE,
        servers=_SERVERS,
        tags=_tags_of(routes),
        routes=routes,
    )
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            describe_headers(method, operation)
            operation["summary"] = _summary_of(operation["description"])
            operation["responses"] = _responses(path, operation)
            add_headers_of_all(operation)
            operation["security"] = [] if path in TOKEN_FREE_PATHS else _SECURITY
            _describe_parameters(path, operation)
    _fill_schemas(document, routes)
    _add_request_examples(document)
    add_links(document)
    tidy(document)  # FastAPI's own parts too
    return document
