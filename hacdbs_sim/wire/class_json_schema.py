"""How a model class enters an OpenAPI document."""

from itertools import combinations
from typing import Any

from hacdbs_sim.wire.class_fields import fields_of, is_request, one_of_names
from hacdbs_sim.wire.docstrings import summary_of
from hacdbs_sim.wire.examples import example_of

JsonSchema = dict[str, Any]


def describe_class(cls: type, name: str, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return the metadata by which pydantic describes a form of a class."""

    def describe(core: Any, handler: Any) -> JsonSchema:  # noqa: ANN401 - pydantic's own
        reference: JsonSchema = handler(core)
        schema: JsonSchema = handler.resolve_ref_schema(reference)
        writes = handler.mode == "serialization"
        schema["title"] = name
        if summary := summary_of(cls):
            schema["description"] = summary
        if is_request(cls):
            schema["additionalProperties"] = False
        else:
            schema.pop("additionalProperties", None)
        if writes and not is_request(cls):
            _require_written(cls, schema)
        for pair in getattr(cls, "not_with", ()):
            _refuse_both(schema, pair)
        if group := one_of_names(cls):
            (_refuse_all_but_one if writes else _require_one)(schema, group)
        if is_request(cls) and not writes and (example := example_of(name, without)) is not None:
            schema["examples"] = [example]
        return reference

    return {"pydantic_js_functions": [describe]}


def _require_written(cls: type, schema: JsonSchema) -> None:
    """State that all fields are written, but for those that are left out where they are None."""
    properties: JsonSchema = schema["properties"]
    required = []
    for field in fields_of(cls):
        for name in field.pages or (field.wire,):
            if name not in properties:
                continue
            properties[name].pop("default", None)
            if field.omitted or field.pages:
                _drop_null(properties, name)
            else:
                required.append(name)
    if required:
        schema["required"] = required


def _drop_null(properties: JsonSchema, name: str) -> None:
    """State that a field is not null: of `anyOf` what is left."""
    field = properties[name]
    left = [each for each in field.get("anyOf", []) if each != {"type": "null"}]
    if not left:
        return
    rest = {key: value for key, value in field.items() if key not in {"anyOf", "default"}}
    properties[name] = {**(left[0] if len(left) == 1 else {"anyOf": left}), **rest}


def _refuse_both(schema: JsonSchema, names: tuple[str, str]) -> None:
    """State that two fields exclude each other; null is as good as absent."""
    given = {name: {"not": {"type": "null"}} for name in names}
    _refuse(schema, {"required": [*names], "properties": given})


def _refuse_all_but_one(schema: JsonSchema, group: tuple[str, ...]) -> None:
    """State that one field of a group is given, of an object that is written with all of them.

    As whole objects, the others null, it would not be clear to readers which of them an answer is.
    """
    given = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in group
    ]
    _refuse(schema, {"not": {"anyOf": given}})
    for pair in combinations(group, 2):
        _refuse_both(schema, pair)


def _refuse(schema: JsonSchema, refused: JsonSchema) -> None:
    """Add a case to what a schema refuses."""
    if "not" not in schema:
        schema["not"] = refused
    else:
        first = schema["not"]
        schema["not"] = {"anyOf": [*first.get("anyOf", [first]), refused]}


def _require_one(schema: JsonSchema, group: tuple[str, ...]) -> None:
    """Write one whole object for each of the fields of which one is given.

    `required` alone in each would be shorter, and the same to a validator; generators of
    clients take that for objects without fields. The others of the group may be null, by a pattern:
    as properties of type null they stop some generators.
    """
    properties: JsonSchema = schema.pop("properties")
    required: list[str] = schema.pop("required", [])
    del schema["type"], schema["additionalProperties"]
    for name in group:
        _drop_null(properties, name)
    schema["oneOf"] = [
        {
            "title": schema["title"] + _as_words(given),
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: field
                for name, field in properties.items()
                if name == given or name not in group
            },
            "patternProperties": {
                f"^({'|'.join(name for name in group if name != given)})$": {"type": "null"}
            },
            "required": [*(name for name in required if name not in group), given],
        }
        for given in group
    ]


def _as_words(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
