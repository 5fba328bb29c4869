"""What pydantic asks the model, answered: the one place where the two meet."""

from typing import Any, get_args

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from hacdbs_sim.model import kinds
from hacdbs_sim.model.batches import BatchAction
from hacdbs_sim.wire.actions import batch_action_core_schema, family_core_schema, tag_of, union_by
from hacdbs_sim.wire.class_fields import members_of
from hacdbs_sim.wire.class_schema import Generate, class_core_schema
from hacdbs_sim.wire.kind_forms import kind_core_schema
from hacdbs_sim.wire.page_forms import array_core_schema


def core_schema_of(described: Any, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
    """Return the validator and serializer of a class of the model, or of an annotation."""
    match described:
        case kinds.Kind():
            return kind_core_schema(described)
        case kinds.Pattern(regex):
            return core_schema.str_schema(pattern=regex, strict=True)
        case kinds.ArrayForm():
            return array_core_schema(described)
        case kinds.Tagged(field):
            choices = {tag_of(each): handler.generate_schema(each) for each in get_args(source)}
            return union_by(field, choices)
        case _:
            return _class_schema(described, handler.generate_schema)


def _class_schema(cls: type, generate: Generate) -> CoreSchema:
    if cls is BatchAction:
        return batch_action_core_schema(generate)
    return (family_core_schema if members_of(cls) else class_core_schema)(cls, generate)
