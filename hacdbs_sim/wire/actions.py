"""Actions as a batch, a schedule, a scenario and the journal have them: a union by `op`.

Where several classes share an `op`, a second field distinguishes them: `type` of faults, `kind` of
workloads.
"""

from functools import lru_cache
from typing import Any, Final

from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from pydantic_core.core_schema import SerializationInfo

from hacdbs_sim.model.base import Action
from hacdbs_sim.model.batches import BatchAction, LogFormat
from hacdbs_sim.model.dirty_log import GetDirtyLog
from hacdbs_sim.model.errors import InvalidArgumentError
from hacdbs_sim.wire.class_fields import members_of, tag_field_of
from hacdbs_sim.wire.class_schema import FlatForm, Generate, builder_of, flat_schema

_OP: Final = "op"
_FORMAT: Final = "format"


def family_core_schema(cls: type, generate: Generate) -> CoreSchema:
    """Return the union that an abstract action stands for: of all that are not internal, or of an op's."""
    if cls is not Action:
        members = members_of(cls)
        choices = {tag_of(each): generate(each) for each in members}
        return union_by(tag_field_of(members[0]).wire, choices)
    return core_schema.json_or_python_schema(
        union_by(_OP, {op: _choice(op, generate) for op in classes_by_op()}),
        core_schema.is_instance_schema(Action),
        serialization=core_schema.plain_serializer_function_ser_schema(
            _write_action, info_arg=True, return_schema=core_schema.dict_schema()
        ),
    )


def batch_action_core_schema(generate: Generate) -> CoreSchema:
    """Return the union of all actions, of which a get may have a format."""
    choices = {op: _choice(op, generate) for op in classes_by_op() if op != GetDirtyLog.op}
    choices[GetDirtyLog.op] = _get_with_format(generate)
    return core_schema.json_or_python_schema(
        core_schema.no_info_after_validator_function(_wrap, union_by(_OP, choices)),
        core_schema.is_instance_schema(BatchAction),
        serialization=core_schema.plain_serializer_function_ser_schema(
            _write_batch_action, info_arg=True
        ),
    )


def tag_of(cls: type) -> str:
    """Return the constant that distinguishes a class from the others of its union."""
    tag = tag_field_of(cls).tag
    assert tag is not None
    return tag


TAGS: Final[set[str]] = set()
"""Tags of all unions described so far: pydantic's paths have them, documents do not."""

TAG_ERROR: Final = "tag"
"""The type of the error of an object whose tag is absent or unknown."""


def union_by(field: str, choices: dict[str, CoreSchema]) -> CoreSchema:
    """Return a union by a field."""
    TAGS.update(choices)
    return core_schema.tagged_union_schema(
        {**choices},
        discriminator=field,
        custom_error_type=TAG_ERROR,
        custom_error_message="must be one of {expected_tags}",
        custom_error_context={"discriminator": field, "expected_tags": ", ".join(choices)},
    )


@lru_cache(1)
def classes_by_op() -> dict[str, list[type[Action[Any]]]]:
    """Return the classes of each op that is not internal."""
    by_op: dict[str, list[type[Action[Any]]]] = {}
    for action in members_of(Action):
        by_op.setdefault(action.op, []).append(action)
    return by_op


def _choice(op: str, generate: Generate) -> CoreSchema:
    classes = classes_by_op()[op]
    if len(classes) == 1:
        return _with_op(classes[0], generate)
    field = tag_field_of(classes[0]).wire
    return union_by(field, {tag_of(each): _with_op(each, generate) for each in classes})


def _with_op(cls: type[Action[Any]], generate: Generate) -> CoreSchema:
    build = builder_of(cls)

    def build_without_op(given: dict[str, Any]) -> Action[Any]:
        del given[_OP]
        try:
            action: Action[Any] = build(given)
        except InvalidArgumentError as refused:
            # Among others the action's place is part of the refusal.
            context = {"bound": refused.bound}
            raise PydanticCustomError("invalid_argument", refused.detail, context) from None
        return action

    return flat_schema(
        FlatForm(cls, f"{cls.__name__}Action", op=cls.op), generate, build_without_op
    )


def _get_with_format(generate: Generate) -> CoreSchema:
    choice = core_schema.with_default_schema(generate(LogFormat), default=LogFormat.RANGES)

    def build(given: dict[str, Any]) -> BatchAction:
        del given[_OP]
        log_format = given.pop(_FORMAT)
        return BatchAction(action=GetDirtyLog(**given), format=log_format)

    extra = {_FORMAT: choice}
    form = FlatForm(GetDirtyLog, "GetDirtyLogBatchAction", op=GetDirtyLog.op, extra=extra)
    return flat_schema(form, generate, build)


def _wrap(action: Action[Any] | BatchAction) -> BatchAction:
    return action if isinstance(action, BatchAction) else BatchAction(action=action)


def _write_action(action: Action[Any], info: SerializationInfo) -> dict[str, Any]:
    from hacdbs_sim.wire.writer import serializer_of  # noqa: PLC0415 - that one needs the hook

    fields = serializer_of(type(action)).to_python(
        action, mode=info.mode, context=info.context, by_alias=True
    )
    return {_OP: action.op, **fields}


def _write_batch_action(batched: BatchAction, info: SerializationInfo) -> dict[str, Any]:
    written = _write_action(batched.action, info)
    if isinstance(batched.action, GetDirtyLog):
        written[_FORMAT] = batched.format.value
    return written
