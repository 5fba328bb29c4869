"""Schemas of the model for an OpenAPI document."""

from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from hacdbs_sim.wire.reader import Reader

REF_TEMPLATE: Final = "#/components/schemas/{model}"

_PREFIX: Final = REF_TEMPLATE.partition("{")[0]
_READ: Final = "-Input"
_WRITTEN: Final = "-Output"
"""What pydantic adds to the name of a class that it describes in both modes."""

Mode = Literal["validation", "serialization"]


def json_schemas(
    kinds: Iterable[tuple[Any, Mode]],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the JSON schemas of several types, and all definitions that they refer to.

    Args:
        kinds: Classes of the model, annotations of such, or readers; each as it is read, or as it
            is written.
    """
    inputs = [(number, mode, _adapter(kind)) for number, (kind, mode) in enumerate(kinds)]
    schemas, shared = TypeAdapter.json_schemas(inputs, ref_template=REF_TEMPLATE)
    definitions: dict[str, Any] = shared.get("$defs", {})
    found = [schemas[number, mode] for number, mode, _ in inputs]
    _tidy([found, definitions])
    for name in [each for each in definitions if each.endswith(_READ)]:
        # What is written is valid as what is read too, so one name is enough for both.
        cls = name.removesuffix(_READ)
        definitions[cls] = definitions.pop(name)
        definitions.pop(cls + _WRITTEN, None)
    _rename([found, definitions])
    return found, definitions


def _rename(node: Any) -> None:  # noqa: ANN401 - any part of a document
    """Refer to each class by its name."""
    if isinstance(node, list):
        for value in node:
            _rename(value)
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str) and value.startswith(_PREFIX):
                node[key] = value.removesuffix(_READ).removesuffix(_WRITTEN)
            else:
                _rename(value)


def _adapter(kind: Any) -> TypeAdapter[Any]:  # noqa: ANN401 - a type, or a reader
    return kind.adapter if isinstance(kind, Reader) else TypeAdapter(kind)


def _tidy(node: Any) -> None:  # noqa: ANN401 - any part of a document
    """Write schemas as generators of clients and linters need them.

    Whole numbers are integers, each integer has a format, and a tuple has `items` beside its
    `prefixItems`. Discriminators that OpenAPI cannot express are dropped: pydantic nests the mapping of a
    union inside a union; OpenAPI wants names there, and the members differ by constants anyway.
    """
    if isinstance(node, list):
        for value in node:
            _tidy(value)
    if not isinstance(node, dict):
        return
    mapping = node.get("discriminator", {}).get("mapping", {}) if "oneOf" in node else {}
    if not all(isinstance(name, str) for name in mapping.values()):
        del node["discriminator"]
    if node.get("additionalProperties") is True and isinstance(node.get("title"), str):
        # Generators name such an object by its owner and its title: not as a class is named
        node["title"] += " Fields"
    if node.get("type") == "integer":
        node.setdefault("format", "int64")
    if isinstance(node.get("prefixItems"), list):
        node.setdefault("items", _any_of(node["prefixItems"]))
    for key, value in node.items():
        if isinstance(value, float) and value.is_integer():
            node[key] = int(value)
        else:
            _tidy(value)


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a schema of the elements of a tuple, for readers that do not know `prefixItems`.

    Their types only: the bounds of each element are in `prefixItems`.
    """
    types: list[dict[str, Any]] = []
    for schema in schemas:
        for choice in schema.get("anyOf", [schema]):
            kept = {key: choice[key] for key in ("$ref", "type", "format") if key in choice}
            if kept not in types:
                types.append(kept)
    return types[0] if len(types) == 1 else {"anyOf": types}
