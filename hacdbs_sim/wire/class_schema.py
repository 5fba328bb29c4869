"""How a model class is read and written, field by field.

Two forms: a *plain* class is pydantic's own dataclass, read and written in Rust. A *flat* one has
other fields on the wire than in Python: a set of pages is one of several fields, an action of a
batch has its `op`. It is read as an object of those fields, then built; and written by way of a dict.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, is_dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from pydantic_core.core_schema import SerializationInfo

from hacdbs_sim.model.kinds import Form
from hacdbs_sim.wire.class_fields import (
    WireField,
    fields_of,
    is_request,
    kind_of,
    one_of_names,
    page_field_of,
)
from hacdbs_sim.wire.class_json_schema import describe_class
from hacdbs_sim.wire.docstrings import description_of
from hacdbs_sim.wire.kind_forms import names_of
from hacdbs_sim.wire.page_forms import (
    PAGE_DESCRIPTIONS,
    explode,
    explode_log,
    is_log,
    log_from,
    page_field_schema,
    pages_from,
)

Generate = Callable[[Any], CoreSchema]
"""Returns the schema of an annotation."""


class FlatForm(NamedTuple):
    """A form of a class with other fields than the class has."""

    cls: type
    """The class."""
    name: str
    """The form's name in a document."""
    op: str | None = None
    """What it has as `op`, if it has one."""
    extra: Mapping[str, CoreSchema] = MappingProxyType({})
    """Optional fields added, with what reads each."""
    without: frozenset[str] = frozenset()
    """Fields left to the path and the query."""


def class_core_schema(cls: type, generate: Generate) -> CoreSchema:
    """Return the validator and serializer of a class that stands for itself."""
    if page_field_of(cls) is None:
        return _plain_schema(cls, generate)
    form = FlatForm(cls, cls.__name__)
    return core_schema.json_or_python_schema(
        core_schema.no_info_after_validator_function(
            builder_of(cls), _fields_schema(form, generate)
        ),
        core_schema.is_instance_schema(cls),
        ref=_reference_of(cls, form.name),
        serialization=core_schema.plain_serializer_function_ser_schema(
            _exploder_of(cls), info_arg=True, return_schema=_fields_schema(form, generate)
        ),
    )


def flat_schema(
    form: FlatForm, generate: Generate, build: Callable[[dict[str, Any]], Any]
) -> CoreSchema:
    """Return the validator of a form; `build` takes the fields that were read."""
    return core_schema.no_info_after_validator_function(
        build, _fields_schema(form, generate), ref=_reference_of(form.cls, form.name)
    )


def _reference_of(cls: type, name: str) -> str:
    return f"{cls.__module__}.{name}:{id(cls)}"


def _config_of(cls: type) -> core_schema.CoreConfig:
    """Return how strict a class is: wholly in its values, and in its fields if it is a request."""
    return core_schema.CoreConfig(
        title=cls.__name__,
        strict=True,
        extra_fields_behavior="forbid" if is_request(cls) else "ignore",
        serialize_by_alias=True,
    )


def _plain_schema(cls: type, generate: Generate) -> CoreSchema:
    read = [
        core_schema.dataclass_field(
            name=field.name,
            schema=_with_default(field, generate(field.hint)),
            kw_only=True,
            validation_alias=None if field.wire == field.name else field.wire,
            serialization_alias=None if field.wire == field.name else field.wire,
            serialization_exclude_if=_is_none if field.omitted else None,
            metadata=_described(cls, field.field),
        )
        for field in fields_of(cls)
    ]
    rule = _rule_of(cls)
    ref = _reference_of(cls, cls.__name__)
    dataclass = core_schema.dataclass_schema(
        cls,
        core_schema.dataclass_args_schema(cls.__name__, read),
        [field.name for field in fields_of(cls)],
        config=_config_of(cls),
        slots=True,  # attributes are set one by one, with and without slots
        metadata=describe_class(cls, cls.__name__),
        ref=ref if rule is None else None,
    )
    if rule is None:
        return dataclass

    def check(value: Any) -> Any:  # noqa: ANN401 - of the class
        rule({name for name in checked if getattr(value, name) is not None})
        return value

    checked = tuple(field.name for field in fields_of(cls))
    return core_schema.no_info_after_validator_function(check, dataclass, ref=ref)


def _fields_schema(form: FlatForm, generate: Generate) -> CoreSchema:
    """Return what reads, and writes, the fields of a flat form as a dict."""
    members: dict[str, core_schema.TypedDictField] = {}
    if form.op is not None:
        op = core_schema.literal_schema([form.op])
        members["op"] = core_schema.typed_dict_field(op, required=True)
    for field in fields_of(form.cls):
        if field.name in form.without:
            continue
        for name in field.pages:
            members[name] = core_schema.typed_dict_field(
                core_schema.nullable_schema(page_field_schema(name)),
                required=False,
                metadata={"pydantic_js_updates": {"description": PAGE_DESCRIPTIONS[name]}},
            )
        if not field.pages:
            members[field.wire] = core_schema.typed_dict_field(
                _with_default(field, generate(field.hint)),
                required=field.is_required,
                serialization_exclude_if=_is_none if field.omitted else None,
                metadata=_described(form.cls, field.field),
            )
    for name, schema in form.extra.items():
        members[name] = core_schema.typed_dict_field(schema, required=False)
    return core_schema.typed_dict_schema(
        members,
        config=_config_of(form.cls),
        metadata=describe_class(form.cls, form.name, form.without),
    )


def _with_default(field: WireField, schema: CoreSchema) -> CoreSchema:
    if schema["type"] == "tuple" or schema["type"] == "list":
        schema = {**schema, "fail_fast": True}
    if field.is_required:
        return schema
    # A class of the model is frozen, so that one instance can stand for all
    make = field.field.default_factory
    default: Any = field.field.default if make is MISSING else make()
    metadata: dict[str, Any] | None = None
    if (flags := kind_of(field.hint, Form.FLAGS)) is not None:
        metadata = {"pydantic_js_updates": {"default": names_of(flags, default)}}
    elif is_dataclass(default):
        metadata = {"pydantic_js_annotation_functions": [_state_no_default]}
    return core_schema.with_default_schema(schema, default=default, metadata=metadata)


def _state_no_default(core: Any, handler: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's own
    """Leave a class without a default: its fields state theirs, and generators take no objects."""
    schema: dict[str, Any] = handler(core)
    return {key: value for key, value in schema.items() if key != "default"}


def _described(cls: type, field: "Field[Any]") -> dict[str, Any]:
    """Return the metadata by which pydantic describes a field; only a document reads the source."""

    def describe(core: Any, handler: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's own
        schema: dict[str, Any] = handler(core)
        description = description_of(cls, field)
        return schema if description is None else {**schema, "description": description}

    return {"pydantic_js_annotation_functions": [describe]}


def _is_none(value: object) -> bool:
    return value is None


def builder_of(cls: type, without: frozenset[str] = frozenset()) -> Callable[[dict[str, Any]], Any]:
    """Return what builds an instance of the fields that were read.

    With fields left out it returns the others, by attribute, for a caller that has those.
    """
    pages = page_field_of(cls)
    rule = _rule_of(cls)
    has_log = pages is not None and is_log(pages.hint)
    renamed = [(f.wire, f.name) for f in fields_of(cls) if f.wire != f.name]

    def build(given: dict[str, Any]) -> Any:  # noqa: ANN401 - of the class, or its fields
        if rule is not None:
            rule({name for name, value in given.items() if value is not None})
        for wire, name in renamed:
            if wire in given:
                given[name] = given.pop(wire)
        if pages is not None and pages.name not in without:
            values = {name: given.pop(name, None) for name in pages.pages}
            for name, value in values.items():
                if value is not None:
                    given[pages.name] = (
                        log_from(name, value, given["num_pages"])
                        if has_log
                        else pages_from(name, value)
                    )
        return given if without else cls(**given)

    return build


def _exploder_of(cls: type) -> Callable[[Any, SerializationInfo], dict[str, Any]]:
    """Return what takes an instance apart into the fields that are written."""
    parts = tuple((f.name, f.wire, f.pages, is_log(f.hint)) for f in fields_of(cls))

    def take_apart(value: Any, info: SerializationInfo) -> dict[str, Any]:  # noqa: ANN401
        taken: dict[str, Any] = {}
        for name, wire, pages, log in parts:
            if not pages:
                taken[wire] = getattr(value, name)
            elif log:
                taken.update(explode_log(getattr(value, name), info))
            else:
                taken.update(explode(getattr(value, name), pages))
        return taken

    return take_apart


def _rule_of(cls: type) -> Callable[[set[str]], None] | None:
    """Return the check of which fields are given together; None for a class without such rules."""
    group = one_of_names(cls)
    pairs: tuple[tuple[str, str], ...] = getattr(cls, "not_with", ())

    def check(given: set[str]) -> None:
        if group and len(given.intersection(group)) != 1:
            bound = {"bound": ", ".join(group)}
            raise PydanticCustomError("exactly_one", "exactly one of {bound} must be given", bound)
        for pair in pairs:
            if given.issuperset(pair):
                bound = {"bound": ", ".join(pair)}
                raise PydanticCustomError("not_both", "only one of {bound} may be given", bound)

    return check if group or pairs else None
