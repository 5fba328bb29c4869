"""Values of the model as JSON."""

from functools import partial
from typing import Any, Final

import orjson
from pydantic import TypeAdapter
from pydantic_core import SchemaSerializer

from hacdbs_sim.model.base import Action, Model
from hacdbs_sim.model.batches import LogFormat

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
_ANY_OPTIONS: Final = _OPTIONS | orjson.OPT_NON_STR_KEYS
"""Of values that pydantic has not seen: their names may be members of an enum."""

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
        fields = _fields(value, "python", format)
        if not with_trace and (accelerator := fields.get("accelerator")) is not None:
            for name in _TRACE:
                accelerator.pop(name, None)
        return orjson.dumps(fields, option=_OPTIONS)
    return orjson.dumps(value, default=partial(_inner, format), option=_ANY_OPTIONS)


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
    raise TypeError(f"{type(value).__name__} is not of the model")
