"""How each kind of number enters an OpenAPI document."""

from typing import Any, Final

from hacdbs_sim.model.kinds import MAX_JSON_INTEGER, Form, Kind, whole
from hacdbs_sim.wire.kind_forms import GFN_PATTERN, address_pattern, size_name, size_pattern

HEX_PATTERN: Final = r"^0x[0-9a-f]{1,16}$"
"""As this service writes addresses and registers."""


def kind_json_schema(kind: Kind, mode: str) -> dict[str, Any]:
    """Return the JSON schema of a kind, as it is read (`validation`) or written."""
    match kind.form:
        case Form.BOOLEAN:
            return {"type": "boolean"}
        case Form.FLAGS:
            names = [member.name for member in kind.flags]
            items = {"type": "string", "enum": names}
            return {"type": "array", "items": items, "maxItems": len(names)}
        case Form.ADDRESS | Form.REGISTER if mode == "serialization":
            return {"type": "string", "pattern": HEX_PATTERN}
        case _ if mode == "serialization":
            return _integer_schema(kind)
        case _:
            return _read_json_schema(kind)


def _read_json_schema(kind: Kind) -> dict[str, Any]:
    """Describe what may be given: an integer, or a text."""
    integer = _integer_schema(kind)
    match kind.form:
        case Form.ADDRESS | Form.REGISTER:
            text: dict[str, Any] = {"pattern": address_pattern(kind)}
            integer = _integer_schema(whole(kind.ge, min(kind.le, MAX_JSON_INTEGER)))
        case Form.SIZE if kind.one_of:
            # Not one enum: many generators of clients want its values to be of one type.
            text = {"enum": [size_name(size) for size in kind.one_of]}
        case Form.SIZE:
            text = {"pattern": size_pattern(kind)}
        case Form.GFN:
            text = {"pattern": GFN_PATTERN}
        case _:
            return integer
    return {"anyOf": [integer, {"type": "string", **text}]}


def _integer_schema(kind: Kind) -> dict[str, Any]:
    described: dict[str, Any] = {"type": "integer", "format": "int64"}
    if kind.one_of:
        return {**described, "enum": [*kind.one_of]}
    described |= {"minimum": kind.ge, "maximum": kind.le}
    if kind.multiple_of is not None:
        described["multipleOf"] = kind.multiple_of
    return described
