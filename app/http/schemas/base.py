"""What all schemas share: strictness, and the rule of exactly one field of several."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator, with_config
from pydantic_core import PydanticCustomError

answer: Final = with_config(ConfigDict(extra="forbid"))
"""Decorator of the typed dicts that answers are made of: no field but the declared ones."""


def omittable(**constraints: Any) -> Any:  # noqa: ANN401 - the type is that of the field
    """Declare a field that may be left out, but not be null: None stands for its absence."""
    return Field(default=None, json_schema_extra=_drop_default, **constraints)


def example(**fields: JsonValue) -> ConfigDict:
    """Show one in the schema."""
    examples: list[JsonValue] = [fields]
    return ConfigDict(json_schema_extra={"examples": examples})


def _drop_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class Request(BaseModel):
    """A request body: strict types, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_bytes: ClassVar[int | None] = 1 << 20
    """The longest body; None: as long as the service takes, for it carries pages."""
    max_colons: ClassVar[int] = 256
    """More colons than any body the schema takes has: each unknown field costs an error."""


def _require_one(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Write one whole object for each of the fields.

    `required` alone in each would be shorter, and say the same to a validator; generators of
    clients take that for objects without fields.
    """
    if not issubclass(model, OneOf):
        return
    properties: dict[str, Any] = schema.pop("properties")
    required: list[str] = schema.pop("required", [])
    del schema["type"], schema["additionalProperties"]
    schema["oneOf"] = [
        {
            "title": schema["title"] + properties[given]["title"].replace(" ", ""),
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: field
                for name, field in properties.items()
                if name == given or name not in model.one_of
            },
            "required": [*required, given],
        }
        for given in model.one_of
    ]
    schema["examples"] = [dict(model.shown)]


class OneOf(Request):
    """A request that has exactly one of the fields that `one_of` names."""

    model_config = ConfigDict(json_schema_extra=_require_one)

    one_of: ClassVar[tuple[str, ...]]
    shown: ClassVar[Mapping[str, Any]]
    """An example, for the schema."""

    @model_validator(mode="after")
    def _has_exactly_one(self) -> Self:
        if len(self.model_fields_set.intersection(self.one_of)) != 1:
            raise PydanticCustomError(
                "exactly_one",
                "exactly one of {bound} must be given",
                {"bound": ", ".join(self.one_of)},
            )
        return self
