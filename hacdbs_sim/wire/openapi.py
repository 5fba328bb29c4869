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
    tidy([found, definitions])
    for name in [each for each in definitions if each.endswith(_READ)]:
        # What is written is valid as what is read too, so one name is enough for both.
        cls = name.removesuffix(_READ)
        read, written = definitions.pop(name), definitions.pop(cls + _WRITTEN, None)
        definitions[cls] = (
            _with_all(read["oneOf"], written) if written and "oneOf" in read else read
        )
    _rename([found, definitions])
    return found, definitions


def _with_all(forms: list[dict[str, Any]], written: dict[str, Any]) -> dict[str, Any]:
    """Return the object that is read in forms, of one field each, and is written with all of them."""
    common = set.intersection(*(set(form["properties"]) for form in forms))
    read = {name: field for name, field in forms[0]["properties"].items() if name in common}
    return {**written, "properties": written["properties"] | read}


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


def tidy(node: Any) -> None:  # noqa: ANN401 - any part of a document
    """Write schemas as generators of clients and linters need them; again changes nothing.

    Whole numbers are integers, each integer has a format, and a tuple has `items` beside its
    `prefixItems`. Discriminators that OpenAPI cannot express are dropped.
    """
    if isinstance(node, list):
        for value in node:
            tidy(value)
    if not isinstance(node, dict):
        return
    _tidy_union(node)
    title = node.get("title")
    if node.get("additionalProperties") is True and isinstance(title, str):
        # Generators name such an object by its owner and its title: not as a class is named
        node["title"] = title.removesuffix(" Fields") + " Fields"
    if node.get("type") == "integer":
        node.setdefault("format", "int64")
    if isinstance(node.get("prefixItems"), list):
        node.setdefault("items", _any_of(node["prefixItems"]))
    for key, value in node.items():
        if isinstance(value, float) and value.is_integer():
            node[key] = int(value)
        else:
            tidy(value)


def _tidy_union(node: dict[str, Any]) -> None:
    """Drop nested discriminators, and give a default to the first choice.

    pydantic nests the mapping of a union inside a union; OpenAPI wants names there, and the members
    differ by constants anyway. A generator writes a default as a value of the union's own type, which 4096
    is not where 4096 and "4KiB" are the choices.
    """
    mapping = node.get("discriminator", {}).get("mapping", {}) if "oneOf" in node else {}
    if not all(isinstance(name, str) for name in mapping.values()):
        del node["discriminator"]
    if isinstance(node.get("anyOf"), list) and node.get("default") is not None:
        first, *others = node["anyOf"]
        node["anyOf"] = [{**first, "default": node.pop("default")}, *others]


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a schema of every element of a tuple, for readers that do not know `prefixItems`.

    Of integers it is one of integers with the outer bounds; these are in an `allOf`, since a generator
    takes a plain `items` beside `prefixItems` for one element more.
    """
    choices = [choice for schema in schemas for choice in schema.get("anyOf", [schema])]
    if {choice.get("type") for choice in choices} != {"integer"}:
        return {"anyOf": [each for at, each in enumerate(choices) if each not in choices[:at]]}
    bounds = [
        {"minimum": min(choice["minimum"] for choice in choices)},
        {"maximum": max(choice["maximum"] for choice in choices)},
    ]
    return {"type": "integer", "format": "int64", "allOf": bounds}
