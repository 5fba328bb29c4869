"""Links of the OpenAPI document: from an operation that makes something to those that name it.

What was made is what a GET with the same answer returns; of a PUT, what is at its own path. The operations at
that path can follow: each parameter comes from the answer, or from the path of the call before.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from .responses import JSON_MEDIA_TYPE

_NAME: Final = re.compile(r"{(\w+)}")
_MAKE: Final = ("201", "202")

Node = Mapping[str, Any]


def path_names(path: str) -> tuple[str, ...]:
    """Return the parameters of a path's template, in order."""
    return tuple(_NAME.findall(path))


def add_links(document: dict[str, Any]) -> None:
    """Add links to the answers of operations that make something; the answers have schemas already."""
    paths: dict[str, dict[str, Any]] = document["paths"]
    schemas = document["components"]["schemas"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            for status in _MAKE:
                if (answer := operation["responses"].get(status)) is None:
                    continue
                made = path if method == "put" else _path_of(_schema_of(answer), paths)
                names = path_names(made)
                answered = _fields(_schema_of(answer), schemas)
                if not answered.intersection(names):
                    continue
                sources = {
                    name: f"$response.body#/{name}" if name in answered else f"$request.path.{name}"
                    for name in names
                }
                answer["links"] = {
                    each["operationId"]: {"operationId": each["operationId"], "parameters": sources}
                    for each in paths[made].values()
                    if each is not operation
                }


def _schema_of(answer: Node) -> Node:
    schema: Node = answer["content"][JSON_MEDIA_TYPE]["schema"]
    return schema


def _path_of(schema: Node, paths: Mapping[str, Node]) -> str:
    """Return the path at which something with this schema can be read."""
    for path, operations in paths.items():
        content = (
            operations.get("get", {"responses": {}})["responses"].get("200", {}).get("content")
        )
        if content and content.get(JSON_MEDIA_TYPE, {}).get("schema") == schema:
            return path
    raise AssertionError(f"nothing that GET returns is {schema}")


def _fields(schema: Node, schemas: Node) -> frozenset[str]:
    """Return the fields of an object, or those that all choices have."""
    if "$ref" in schema:
        return _fields(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "oneOf" in schema:
        return frozenset.intersection(*(_fields(each, schemas) for each in schema["oneOf"]))
    return frozenset(schema["properties"])
