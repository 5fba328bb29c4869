"""The fields that an object may have, found in pydantic's schema by the path of an error."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic_core import CoreSchema

Schema = Mapping[str, Any]


def known_fields(schema: CoreSchema, path: Iterable[str | int]) -> tuple[str, ...]:
    """Return the fields of the object at a path; the path has the tags of unions."""
    outer: Schema = schema
    definitions = {each["ref"]: each for each in outer.get("definitions", ())}
    found = _unwrapped(outer, definitions)
    for step in path:
        found = _unwrapped(_part(found, step), definitions)
    return tuple(_fields(found))


def _unwrapped(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return the schema of an object, a list or a value itself, without what is around it."""
    while True:
        match schema:
            case {"type": "definition-ref", "schema_ref": ref}:
                schema = definitions[ref]
            case {"json_schema": inner} | {"schema": inner}:
                schema = inner
            case _:
                return schema


def _part(schema: Schema, step: str | int) -> Schema:
    match schema:
        case {"choices": choices}:
            found = choices[step]
        case {"items_schema": [item, *_]} | {"items_schema": item} | {"values_schema": item}:
            found = item
        case _:
            found = _fields(schema)[str(step)]
    return cast("Schema", found)


def _fields(schema: Schema) -> dict[str, Schema]:
    """Return the fields of an object, as they are written: those of a dataclass are a list."""
    fields = schema.get("fields", {})
    if isinstance(fields, Mapping):
        return {name: field["schema"] for name, field in fields.items()}
    return {field.get("validation_alias", field["name"]): field["schema"] for field in fields}
