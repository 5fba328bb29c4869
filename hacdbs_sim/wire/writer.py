"""Values of the model as JSON.

Writing a value is a call into C that holds the interpreter. What has long lists in it, such as a VM with
32,767 memslots, is therefore written element by element.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, Final, get_args, get_origin

import orjson
from pydantic import TypeAdapter
from pydantic_core import SchemaSerializer

from hacdbs_sim.model.base import Action, Model
from hacdbs_sim.model.batches import LogFormat
from hacdbs_sim.wire.class_fields import WireField, fields_of
from hacdbs_sim.wire.page_forms import JsonArray, JsonString

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
_ANY_OPTIONS: Final = _OPTIONS | orjson.OPT_NON_STR_KEYS
"""Of values that pydantic has not seen: their names may be members of an enum."""

ELEMENTS_AT_ONCE: Final = 256
"""The most elements of a list that are written in one call."""

_WRITTEN: Final = frozenset({JsonArray, JsonString})

_TRACE: Final = ("trace", "trace_omitted")

_SERIALIZERS: Final[dict[type, SchemaSerializer]] = {}


def serializer_of(cls: type) -> SchemaSerializer:
    """Return the serializer of a class of the model; it is made once."""
    if (known := _SERIALIZERS.get(cls)) is not None:
        return known
    serializer = TypeAdapter(cls).serializer
    assert isinstance(serializer, SchemaSerializer), "the class is complete"
    return _SERIALIZERS.setdefault(cls, serializer)


def write(
    value: object,
    *,
    format: LogFormat = LogFormat.RANGES,  # noqa: A002 - the wire's own word
    with_trace: bool = True,
) -> bytes:
    """Write a value of the model, or JSON that holds such values, as JSON.

    Args:
        value: The value.
        format: In which form the pages of a dirty log are written.
        with_trace: Whether a dirty log has the runs of the unit; only where `value` is the log.
    """
    if isinstance(value, Model):
        if with_trace and _is_long(value):
            return b"".join(_pieces(value, format))
        fields = _fields(value, "python", format)
        if not with_trace and (accelerator := fields.get("accelerator")) is not None:
            for name in _TRACE:
                accelerator.pop(name, None)
        if not _WRITTEN.isdisjoint(map(type, fields.values())):
            return b"".join(_members(fields))
        return orjson.dumps(fields, default=_fragment, option=_OPTIONS)
    return orjson.dumps(value, default=partial(_inner, format), option=_ANY_OPTIONS)


def _members(fields: Mapping[str, Any]) -> Iterator[bytes]:
    """Write an object with long texts in it: to join them lets others run, unlike orjson's copy."""
    opening = b"{"
    for name, part in fields.items():
        yield opening + orjson.dumps(name) + b":"
        yield _octets_of(part)
        opening = b","
    yield b"}"


def _octets_of(part: object) -> bytes:
    """Write a field; what is JSON already stands as it is."""
    if isinstance(part, JsonArray | JsonString):
        return part.octets
    return orjson.dumps(part, default=_fragment, option=_OPTIONS)


class Written(dict[str, Any]):
    """An object of JSON that is written already; as a value of the model it is opaque."""

    def __init__(self, octets: bytes) -> None:
        super().__init__()
        self.octets = octets


@lru_cache(256)
def _lists_of(cls: type) -> tuple[WireField, ...]:
    """Return the fields of a class that may be long: lists, objects, and classes that have such."""
    if not hasattr(cls, "__dataclass_fields__"):
        return ()
    own = fields_of(cls)
    return tuple(field for field in own if not field.pages and _may_be_long(field.hint))


def _may_be_long(hint: Any) -> bool:  # noqa: ANN401 - a type
    if isinstance(hint, type):
        return bool(_lists_of(hint))
    return get_origin(hint) in (tuple, Mapping) or any(map(_may_be_long, get_args(hint)))


def _long_parts(value: Model) -> Iterator[tuple[WireField, object]]:
    cls: type = type(value)
    for field in _lists_of(cls):
        if (part := getattr(value, field.name)) is not None:
            yield field, part


def count_elements(value: object) -> int:
    """Count the elements of all lists in a value of the model: so long it takes to write it."""
    if isinstance(value, tuple):
        return len(value) + (sum(map(count_elements, value)) if _have_lists(value) else 0)
    if isinstance(value, Model):
        return sum(count_elements(part) for _, part in _long_parts(value))
    return 0


def _have_lists(elements: tuple[Any, ...]) -> bool:
    """Whether elements, which are of one class, may be long themselves."""
    if not elements or not isinstance(elements[0], Model):
        return False
    cls: type = type(elements[0])
    return bool(_lists_of(cls))


def _is_long(value: Model) -> bool:
    return any(_is_long_part(part) for _, part in _long_parts(value))


def _is_long_part(part: object) -> bool:
    if isinstance(part, Model):
        return _is_long(part)
    if not isinstance(part, tuple):
        return isinstance(part, Written)
    if len(part) > ELEMENTS_AT_ONCE:
        return True
    return _have_lists(part) and any(map(_is_long, part))


def _pieces(value: Model, log_format: LogFormat) -> Iterator[bytes]:
    """Write a value, its long parts piece by piece."""
    cls: type = type(value)
    long = {field.wire: part for field, part in _long_parts(value) if _is_long_part(part)}
    names = {field.name for field in fields_of(cls) if field.wire in long}
    short: dict[str, Any] = serializer_of(cls).to_python(
        value, mode="python", by_alias=True, context=log_format, exclude=names
    )
    opening = b"{"
    for field in fields_of(cls):
        for name in field.pages or (field.wire,):
            if name not in long and name not in short:
                continue
            yield opening + orjson.dumps(name) + b":"
            opening = b","
            if name not in long:
                yield _octets_of(short[name])
            elif isinstance(part := long[name], Written):
                yield part.octets
            elif isinstance(part, Model):
                yield from _pieces(part, log_format)
            else:
                assert isinstance(part, tuple), "nothing else is long"
                yield from _elements(part, log_format)
    yield b"}"


def _elements(part: tuple[Any, ...], log_format: LogFormat) -> Iterator[bytes]:
    opening = b"["
    for each in part:
        yield opening + write(each, format=log_format)
        opening = b","
    yield b"]" if part else b"[]"


def to_plain(
    value: Model,
    *,
    format: LogFormat = LogFormat.RANGES,  # noqa: A002 - the wire's own word
) -> dict[str, Any]:
    """Return a value of the model as JSON values, the pages of a dirty log in this form."""
    fields: dict[str, Any] = _fields(value, "json", format)
    return fields


def action_to_plain(action: Action[Any]) -> dict[str, Any]:
    """Return an action with its `op` as JSON values."""
    return {"op": action.op, **to_plain(action)}


def _fields(value: Model, mode: str, log_format: LogFormat) -> Any:  # noqa: ANN401 - a dict, mostly
    serializer = serializer_of(type(value))
    return serializer.to_python(value, mode=mode, by_alias=True, context=log_format)


def _inner(log_format: LogFormat, value: object) -> Any:  # noqa: ANN401 - JSON values
    if isinstance(value, Model):
        return _fields(value, "python", log_format)
    return _fragment(value)


def _fragment(value: object) -> orjson.Fragment:
    if isinstance(value, JsonArray):
        return orjson.Fragment(value.octets)
    raise TypeError(f"{type(value).__name__} is not of the model")
