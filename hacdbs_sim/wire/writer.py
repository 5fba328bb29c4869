"""Values of the model as JSON."""

from functools import partial
from typing import Any, Final

import orjson
from pydantic import TypeAdapter
from pydantic_core import SchemaSerializer

from hacdbs_sim.model.base import Action, Model
from hacdbs_sim.model.batches import LogFormat
from hacdbs_sim.wire.formats import WriteContext

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
_ANY_OPTIONS: Final = _OPTIONS | orjson.OPT_NON_STR_KEYS
"""Of values that pydantic has not seen: their names may be members of an enum."""

_TRACE: Final = ("trace", "trace_omitted")
_CONTEXTS: Final = {each: WriteContext(each) for each in LogFormat}
_NOTHING: Final[frozenset[str]] = frozenset()


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
    without: frozenset[str] = _NOTHING,
) -> bytes:
    """Write a value of the model, or JSON that holds such values, as JSON.

    Args:
        value: The value.
        format: In which form the pages of a dirty log are written.
        with_trace: Whether a dirty log has the runs of the unit; only where `value` is the log.
        without: Fields on the wire to leave out, of `value` itself: those of a path and a query.
    """
    if isinstance(value, Model):
        fields = _fields(value, "python", format, with_trace=with_trace, without=without)
        return orjson.dumps(fields, option=_OPTIONS)
    return orjson.dumps(value, default=partial(_inner, format, "python"), option=_ANY_OPTIONS)


def to_plain(
    value: Model,
    *,
    format: LogFormat = LogFormat.RANGES,  # noqa: A002 - the wire's own word
    with_trace: bool = True,
    without: frozenset[str] = _NOTHING,
) -> dict[str, Any]:
    """Return a value of the model as JSON values; the arguments are those of `write`."""
    fields: dict[str, Any] = _fields(value, "json", format, with_trace=with_trace, without=without)
    return fields


def write_action(action: Action[Any]) -> bytes:
    """Write an action with its `op`, as batches, schedules and the journal have it."""
    return write({"op": action.op, **_fields(action, "python", LogFormat.RANGES)})


def action_to_plain(action: Action[Any]) -> dict[str, Any]:
    """Return an action with its `op` as JSON values."""
    return {"op": action.op, **to_plain(action)}


def _fields(
    value: Model,
    mode: str,
    log_format: LogFormat,
    *,
    with_trace: bool = True,
    without: frozenset[str] = _NOTHING,
) -> Any:  # noqa: ANN401 - a dict, of most classes
    fields = serializer_of(type(value)).to_python(
        value, mode=mode, by_alias=True, context=_CONTEXTS[log_format]
    )
    for name in without:
        fields.pop(name, None)
    if not with_trace and (accelerator := fields.get("accelerator")) is not None:
        for name in _TRACE:
            accelerator.pop(name, None)
    return fields


def _inner(log_format: LogFormat, mode: str, value: object) -> Any:  # noqa: ANN401 - JSON values
    if isinstance(value, Model):
        return _fields(value, mode, log_format)
    raise TypeError(f"{type(value).__name__} is not of the model")
