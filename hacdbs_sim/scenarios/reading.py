"""Documents in JSON or YAML: values, and their lines."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import orjson
from pydantic_core import from_json

from hacdbs_sim.scenarios.yaml_nodes import MAX_CHARS, BadDocumentError, Node, compose
from hacdbs_sim.wire import InvalidRequestError
from hacdbs_sim.wire.repeated import check_fields_once

MAX_BYTES: Final = 8 << 20
"""A longer document is refused by each operation that takes one."""


def parse(text: str) -> dict[str, Any]:
    """Read a document, which must be an object.

    Raises:
        BadDocumentError: It cannot be read.
    """
    try:
        value = _parse_json(text)
    except ValueError as wrong:
        # Read as YAML: what is wrong with JSON has its line there
        if len(text) > MAX_CHARS:
            raise BadDocumentError(1, f"is longer than YAML may be, and no JSON: {wrong}") from None
        return cast("dict[str, Any]", compose(text).value())
    if not isinstance(value, dict):
        raise BadDocumentError(1, "must be an object")
    return cast("dict[str, Any]", value)


def _parse_json(text: str) -> object:
    """Parse a JSON text (ValueError if it is none, or has what no answer of the service has)."""
    orjson.loads(text)  # refuses what is not finite, and makes floats of long integers
    value: object = from_json(text)
    try:
        orjson.dumps(value)
        check_fields_once(text)
    except (orjson.JSONEncodeError, InvalidRequestError) as wrong:
        raise ValueError(str(wrong)) from None
    return value


def _tree_of(text: str) -> Node | None:
    try:
        return compose(text)
    except BadDocumentError:
        return None


def _line_in(node: Node, pointer: str) -> int:
    """Return the line of a JSON pointer's target, or of the last part of it that exists."""
    for step in pointer.split("/")[1:]:
        child = node.child(step.replace("~1", "/").replace("~0", "~"))
        if child is None:
            break
        node = child
    return node.line


def explain(name: str, text: str, errors: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the `errors` of a problem document as lines, each with its file and line."""
    lines = []
    tree = _tree_of(text)
    for error in errors:
        where = name if tree is None else f"{name}:{_line_in(tree, error['pointer'])}"
        lines.append(f"{where}: {error['pointer'] or 'the document'}: {error['detail']}")
    return lines
