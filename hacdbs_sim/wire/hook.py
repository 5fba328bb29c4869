"""What pydantic asks the model, answered: the one place where the two meet."""

# ruff: noqa: ARG002 - pydantic hands over more than each of them needs

from types import UnionType
from typing import Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from hacdbs_sim.model import kinds
from hacdbs_sim.model.batches import BatchAction
from hacdbs_sim.model.kinds import ArrayForm, Kind, Pattern, Tagged
from hacdbs_sim.wire.actions import batch_action_core_schema, family_core_schema, tag_of, union_by
from hacdbs_sim.wire.class_fields import members_of
from hacdbs_sim.wire.class_schema import class_core_schema
from hacdbs_sim.wire.kind_forms import kind_core_schema
from hacdbs_sim.wire.kind_json_schema import kind_json_schema
from hacdbs_sim.wire.page_forms import array_core_schema


class Hook:
    """The wire, as the model's kinds and classes ask it."""

    def kind_core_schema(
        self, kind: Kind, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the validator and serializer of a kind."""
        return kind_core_schema(kind)

    def kind_json_schema(
        self, kind: Kind, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the JSON schema of a kind, with what its annotation adds: `Path(examples=[0])`."""
        metadata: dict[str, Any] = schema.get("metadata", {})
        added: dict[str, Any] = metadata.get("pydantic_js_updates", {})
        return kind_json_schema(kind, handler.mode) | added

    def pattern_core_schema(
        self, pattern: Pattern, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the validator of a text that must match a pattern."""
        return core_schema.str_schema(pattern=pattern.regex, strict=True)

    def form_core_schema(
        self, form: ArrayForm, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the validator and serializer of an array."""
        return array_core_schema(form)

    def tagged_core_schema(
        self, tagged: Tagged, source: UnionType, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the validator and serializer of a union whose members differ by a field."""
        choices = {tag_of(each): handler.generate_schema(each) for each in get_args(source)}
        return union_by(tagged.field, choices)

    def class_core_schema(
        self, cls: type, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Return the validator and serializer of a model class."""
        if cls is BatchAction:
            return batch_action_core_schema(handler.generate_schema)
        if members_of(cls):
            return family_core_schema(cls, handler.generate_schema)
        return class_core_schema(cls, handler.generate_schema)


def fill() -> None:
    """Let the model's kinds and classes be described by the wire."""
    kinds.fill_hook(Hook())
